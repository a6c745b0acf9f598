"""Exported runs generate the same images in diffusers, from the same start and noise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from exchanged_runs import SIZE, make_run, noise, ours, randn, relative, spec

from ddpmx.components.registry import MODELS
from ddpmx.exchange.shipping import packages, standalone
from ddpmx.runs.opening import open_run

pytest.importorskip("diffusers")

NETWORK = "{name: ddpm_unet, dim: 64, dim_mults: [1], blocks: 1, dropout: 0.0, attention: []}"
"""A ddpm_unet whose normalisations all have 32 groups, as in a UNet2DModel."""

# A program that cannot import ddpmx: it loads each folder as its README says and samples from stored noise.
ELSEWHERE = """
import importlib, json, re, sys
sys.modules["ddpmx"] = None
import numpy, torch
import diffusers
from diffusers.utils import logging
logging.disable_progress_bar()
cases = json.loads(sys.argv[1])
for case in cases:
    stored = numpy.load(case["numbers"])
    readme = open(case["folder"] + "/README.md").read()
    code = re.search(r"```python\\n(.*?)```", readme, re.S).group(1).replace('"."', repr(case["folder"]))
    code = code.replace("batch_size=4", f"batch_size={len(stored['x'])}, output_type='pt'")
    results = {}
    for dtype in (torch.float32, torch.float64):
        numbers = iter([stored["x"], *stored["noise"], *[stored["x"]] * 2])
        draw = lambda *args, **kwargs: torch.from_numpy(next(numbers)).to(dtype)
        for kind in ("ddpm", "ddim"):
            for name in (f"pipelines.{kind}.pipeline_{kind}", f"schedulers.scheduling_{kind}"):
                importlib.import_module(f"diffusers.{name}").randn_tensor = draw
        load, call = code.strip().rsplit("\\n", 1)
        space = {}
        exec(load, space)
        pipeline = space["pipeline"]
        pipeline.set_progress_bar_config(disable=True)
        if dtype == torch.float64:  # also for the scheduler's tables, from the folder's betas
            pipeline.to(torch.float64)
            betas = torch.tensor(pipeline.scheduler.config.trained_betas, dtype=torch.float64)
            pipeline.scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
        exec(call, space)
        results[str(dtype)[6:]] = space["images"].numpy()
    numpy.savez(case["out"], **results)
"""

PLUGIN = '''
import math
import torch
from torch import nn
from ddpmx import MODELS, Model
from ddpmx.models import embedding
from ddpmx.models.embedding import TimeEmbedding as Embedding

WIDTH = 8

def widen(x, by=2 * WIDTH):
    """Uses a constant, also as a default."""
    return x * math.sqrt(by / WIDTH / 2)

class Small(nn.Module):
    def __init__(self, channels, kernel):
        super().__init__()
        self.time = Embedding(WIDTH, nn.SiLU())
        self.first = nn.Conv2d(channels, 4 * WIDTH, kernel, padding=kernel // 2)
        self.last = nn.Conv2d(4 * WIDTH, channels, kernel, padding=kernel // 2)

    def forward(self, x, t):
        return self.last(torch.tanh(widen(self.first(x)) + self.time(t)[:, :, None, None]))

@MODELS.register("exported_plugin")
class Plugin(Model):
    """A network of two convolutions."""
    kernel: int = 3

    @property
    def odd(self):
        return self.kernel // 2 * 2 + 1

    def build(self, channels, size):
        return Small(channels, self.odd)
'''

CASES = {
    # name: (spec, overrides of the export, custom code)
    "ddpm_unet": (spec(model=NETWORK), (), False),
    "ddim": (
        spec(
            model="{name: ddpm_unet, dim: 64, dim_mults: [1, 1], blocks: 1, dropout: 0.0, attention: [4]}",
            prediction="v",
            sampler="{name: ddim, steps: 5, eta: 0.5, clip: 0.9}",
        ),
        (),
        False,
    ),
    "log_snr": (
        spec(model="{name: convnext_unet, dim: 8, dim_mults: [1, 2], time: log_snr}", prediction="x_start"),
        (),
        True,
    ),
    "groups": (
        spec(model="{name: ddpm_unet, dim: 8, dim_mults: [1, 2], blocks: 1}"),
        ("sampler.variance=beta", "sampler.clip=null", "sampler.steps=7", "sampler.grid=leading"),
        True,
    ),
    "plugin": (spec(model="{name: exported_plugin, kernel: 3}", plugins="[plugin.py]"), (), True),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exchange")


def test_exported_folders_generate_our_samples_without_ddpmx(ddpmx: Callable[..., Result], workplace: Path):
    """A process that cannot import ddpmx runs the README's lines: 1e-5 apart in float32, 1e-9 in float64."""
    cases, runs = [], {}
    for name, (text, overrides, custom) in CASES.items():
        folder = workplace / name
        folder.mkdir()
        (folder / "plugin.py").write_text(PLUGIN)
        runs[name] = make_run(folder, text)
        options = [part for override in overrides for part in ("-s", override)]
        result = ddpmx("export", runs[name], "--to", "diffusers", folder / "out", *options)
        assert result.code == 0, result.err
        assert (folder / "out" / "unet" / "network.py").exists() == custom
        experiment = open_run(runs[name], (), torch.device("cpu"), "best").experiment
        shape = (SIZE, *experiment.image_shape)
        np.savez(
            folder / "numbers.npz",
            x=randn(*shape, seed=0).numpy(),
            noise=np.stack([noise(k, shape).numpy() for k in range(20)]),
        )
        cases.append(
            {
                "folder": str(folder / "out"),
                "numbers": str(folder / "numbers.npz"),
                "out": str(folder / "theirs.npz"),
            }
        )
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "HF_HOME": str(workplace / "hf"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, json.dumps(cases)],
        env=variables,
        cwd=workplace,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, (_, overrides, _) in CASES.items():
        theirs = np.load(workplace / name / "theirs.npz")
        assert np.std(theirs["float64"]) > 0.01, name
        assert relative(ours(runs[name], torch.float32, overrides), theirs["float32"]) <= 1e-5, name
        assert relative(ours(runs[name], torch.float64, overrides), theirs["float64"]) <= 1e-9, name


@pytest.mark.parametrize(
    ("blocks", "field", "why"),
    [
        ({"sampler": "{name: dpmpp_2m, steps: 5}"}, "sampler.name", "dpmpp_2m"),
        ({"schedule": "{name: flow, timesteps: 20}", "prediction": "velocity"}, "schedule.name", "flow"),
        ({"prediction": "edm"}, "prediction", "edm"),
        ({"sampler": "{name: ddim, steps: 7}"}, "sampler.grid", "20 // 7"),
        ({"sampler": "{name: ddpm, steps: 5, grid: log_snr}"}, "sampler.grid", "log_snr"),
        ({"sampler": "{name: ddpm, timesteps: [19, 3.5]}"}, "sampler.timesteps", "list"),
        ({"sampler": "{name: ddpm, steps: 5, variance: beta}"}, "sampler.variance", "without noise"),
        (
            {"model": "{name: convnext_unet, dim: 8, dim_mults: [1, 2], classes: true}"},
            "model.classes",
            "classes",
        ),
    ],
)
def test_a_field_without_an_equivalent_in_diffusers_is_named(
    ddpmx: Callable[..., Result], tmp_path: Path, blocks: dict[str, str], field: str, why: str
):
    result = ddpmx("export", make_run(tmp_path, spec(**blocks)), "--to", "diffusers", tmp_path / "out")
    assert result.code == 2
    assert f"{field}: diffusers has no equivalent" in result.err
    assert why in result.err
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_folder_that_is_not_empty(ddpmx: Callable[..., Result], tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    result = ddpmx("export", make_run(tmp_path, spec()), "--to", "diffusers", tmp_path / "out")
    assert (result.code, "is not empty: it contains thesis.tex" in result.err) == (2, True)


@pytest.mark.parametrize("use", ["ddpmx.SAMPLERS.names()", "undefined_name", "open('/nonexistent')"])
def test_a_network_whose_code_needs_ddpmx_when_it_runs_is_refused(
    ddpmx: Callable[..., Result], tmp_path: Path, use: str
):
    name = f"alone_{abs(hash(use))}"
    body = PLUGIN.replace("exported_plugin", name).replace("import math", "import ddpmx\nimport math")
    body = body.replace("return Small(", f"if __name__ == 'network': {use}\n        return Small(")
    (tmp_path / "plugin.py").write_text(body)
    run = make_run(tmp_path, spec(model=f"{{name: {name}}}", plugins="[plugin.py]"))
    result = ddpmx("export", run, "--to", "diffusers", tmp_path / "out")
    assert result.code == 2
    reason = "its code cannot be exported|the network's code does not run without ddpmx"
    assert re.search(f"model: ({reason})", result.err)
    assert not (tmp_path / "out").exists()


def test_exported_code_does_not_import_ddpmx():
    for name in ("convnext_unet", "ddpm_unet"):
        assert not [
            line for line in standalone(MODELS.get(name)).splitlines() if "import" in line and "ddpmx" in line
        ]


def test_the_card_names_the_packages_that_the_networks_code_imports(
    ddpmx: Callable[..., Result], tmp_path: Path
):
    for name, (text, imported) in {
        "own": (spec(model="{name: convnext_unet, dim: 8, dim_mults: [1, 2]}"), "diffusers, einops, torch."),
        "plugin": (spec(model="{name: exported_plugin}", plugins="[plugin.py]"), "diffusers, torch."),
        "diffusers": (CASES["ddpm_unet"][0], None),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "plugin.py").write_text(PLUGIN)
        run = make_run(tmp_path / name, text)
        assert ddpmx("export", run, "--to", "diffusers", tmp_path / name / "out").code == 0
        card = (tmp_path / name / "out" / "README.md").read_text()
        assert re.findall(r"imports these packages: (.*)$", card, re.MULTILINE) == (
            [imported] if imported else []
        )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import a.b, math\nfrom c.d import e as f", ["a", "c"]),
        ("from __future__ import annotations\nfrom . import near\n\ndef late():\n    import b as a", ["b"]),
        ("x = 'import y'", []),
    ],
)
def test_packages_are_what_code_imports_beyond_the_standard_library(code: str, expected: list[str]):
    assert packages(code) == expected
