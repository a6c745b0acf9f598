"""Runs go to diffusers and come from it with the same samples, from the same start and noise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Result

from ddpmx import SCHEDULES, SpecError
from ddpmx.components.registry import MODELS
from ddpmx.exchange.schedulers import from_scheduler
from ddpmx.exchange.shipping import packages, standalone
from ddpmx.runs.opening import open_run
from ddpmx.sampling.loop import sample
from ddpmx.spec.loading import load
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder
from ddpmx.training.experiment import build
from ddpmx.training.state import TrainState, prepare

diffusers = pytest.importorskip("diffusers")

SIZE = 2
# A ddpm_unet whose normalisations all have 32 groups, as those of one UNet2DModel do.
NETWORK = "{name: ddpm_unet, dim: 64, dim_mults: [1], blocks: 1, dropout: 0.0, attention: []}"

# Loads each folder as its README says and draws from given numbers, in a process that cannot import ddpmx.
ELSEWHERE = """
import importlib, json, re, sys
sys.modules["ddpmx"] = None
import numpy, torch
import diffusers
from diffusers.utils import logging
logging.disable_progress_bar()
cases = json.loads(sys.argv[1])
for case in cases:
    given = numpy.load(case["numbers"])
    readme = open(case["folder"] + "/README.md").read()
    code = re.search(r"```python\\n(.*?)```", readme, re.S).group(1).replace('"."', repr(case["folder"]))
    code = code.replace("batch_size=4", f"batch_size={len(given['x'])}, output_type='pt'")
    found = {}
    for dtype in (torch.float32, torch.float64):
        numbers = iter([given["x"], *given["noise"], *[given["x"]] * 2])
        draw = lambda *args, **kwargs: torch.from_numpy(next(numbers)).to(dtype)
        for kind in ("ddpm", "ddim"):
            for name in (f"diffusers.pipelines.{kind}.pipeline_{kind}", f"diffusers.schedulers.scheduling_{kind}"):
                importlib.import_module(name).randn_tensor = draw
        load, call = code.strip().rsplit("\\n", 1)
        space = {}
        exec(load, space)
        pipeline = space["pipeline"]
        pipeline.set_progress_bar_config(disable=True)
        if dtype == torch.float64:  # the scheduler's tables too, of the betas in the folder
            pipeline.to(torch.float64)
            betas = torch.tensor(pipeline.scheduler.config.trained_betas, dtype=torch.float64)
            pipeline.scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
        exec(call, space)
        found[str(dtype)[6:]] = space["images"].numpy()
    numpy.savez(case["out"], **found)
"""


def spec(**blocks: str) -> str:
    """The tiny spec with other blocks."""
    lines = [line for line in TINY.strip().splitlines() if line.split(":")[0] not in blocks]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in blocks.items())]) + "\n"


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise(k: int, shape: tuple[int, ...]) -> torch.Tensor:
    return randn(*shape, seed=1000 + k)


def ours(run: Path, dtype: torch.dtype, overrides: tuple[str, ...] = ()) -> torch.Tensor:
    """Images in [0, 1] from the run's best weights, the given start and noise."""
    experiment = open_run(run, overrides, torch.device("cpu"), "best").experiment
    plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction)
    network = experiment.network.eval().to(dtype)
    shape = (SIZE, *experiment.image_shape)
    x = sample(
        experiment.denoiser(network),
        plan,
        shape,
        x_init=randn(*shape, seed=0).to(dtype),
        noise=lambda k, shape: noise(k, shape).to(dtype),
        dtype=dtype,
    )
    return (x / 2 + 0.5).clamp(0, 1)


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def make_run(folder: Path, text: str) -> Path:
    """A run's folder whose network has random weights, none of them 0, as training would leave them."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(text)
    experiment = build(load(folder / "spec.yaml"), torch.device("cpu"))
    torch.manual_seed(1)
    for parameter in experiment.network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5
    run = RunFolder.create(folder / "runs", experiment.spec)
    checkpoint.save(run.checkpoints, TrainState(), prepare(experiment))
    return run.path


PLUGIN = '''
import math
import torch
from torch import nn
from ddpmx import MODELS, Model
from ddpmx.models import embedding
from ddpmx.models.embedding import TimeEmbedding as Embedding

WIDTH = 8

def widen(x, by=2 * WIDTH):
    """Uses a constant, as a default too."""
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


def test_exported_folders_draw_our_samples_without_ddpmx(ddpmx: Callable[..., Result], workplace: Path):
    """The README's own lines, run in a process that cannot import ddpmx: 1e-5 in float32, 1e-9 in float64."""
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
def test_what_diffusers_has_no_twin_of_is_named(
    ddpmx: Callable[..., Result], tmp_path: Path, blocks: dict[str, str], field: str, why: str
):
    result = ddpmx("export", make_run(tmp_path, spec(**blocks)), "--to", "diffusers", tmp_path / "out")
    assert result.code == 2
    assert f"{field}: diffusers has no twin" in result.err
    assert why in result.err
    assert not (tmp_path / "out").exists()


def test_export_writes_into_no_folder_that_holds_something(ddpmx: Callable[..., Result], tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    result = ddpmx("export", make_run(tmp_path, spec()), "--to", "diffusers", tmp_path / "out")
    assert (result.code, "is not empty: it contains thesis.tex" in result.err) == (2, True)


@pytest.mark.parametrize("use", ["ddpmx.SAMPLERS.names()", "undefined_name", "open('/nonexistent')"])
def test_a_network_whose_code_does_not_run_alone_is_refused(
    ddpmx: Callable[..., Result], tmp_path: Path, use: str
):
    name = f"alone_{abs(hash(use))}"
    body = PLUGIN.replace("exported_plugin", name).replace("import math", "import ddpmx\nimport math")
    body = body.replace("return Small(", f"if __name__ == 'network': {use}\n        return Small(")
    (tmp_path / "plugin.py").write_text(body)
    run = make_run(tmp_path, spec(model=f"{{name: {name}}}", plugins="[plugin.py]"))
    result = ddpmx("export", run, "--to", "diffusers", tmp_path / "out")
    assert result.code == 2
    assert re.search("model: (its code cannot be shipped|the network's code does not run alone)", result.err)
    assert not (tmp_path / "out").exists()


def test_shipped_code_names_ddpmx_nowhere_as_it_runs():
    for name in ("convnext_unet", "ddpm_unet"):
        assert not [
            line for line in standalone(MODELS.get(name)).splitlines() if "import" in line and "ddpmx" in line
        ]


def test_the_card_says_which_packages_a_network_of_its_own_imports(
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
    ("code", "found"),
    [
        ("import a.b, math\nfrom c.d import e as f", ["a", "c"]),
        ("from __future__ import annotations\nfrom . import near\n\ndef late():\n    import b as a", ["b"]),
        ("x = 'import y'", []),
    ],
)
def test_packages_are_what_code_imports_beyond_the_standard_library(code: str, found: list[str]):
    assert packages(code) == found


GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": (64, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "layers_per_block": 1,
    "norm_eps": 1e-6,
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
}
TUTORIAL = {
    **GOOGLE,
    "attention_head_dim": 8,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_num_groups": 8,
    "downsample_padding": 1,
}
BETAS = np.linspace(0.01, 0.3, 20).tolist()


def save(folder: Path, config: dict[str, Any], scheduler: Any) -> Any:
    """A pipeline with random weights, as diffusers itself writes it."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**config)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    kind = (
        diffusers.DDIMPipeline if isinstance(scheduler, diffusers.DDIMScheduler) else diffusers.DDPMPipeline
    )
    pipeline = kind(unet=unet.eval(), scheduler=scheduler)
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, **arguments: Any) -> Any:
    """Their pipeline's images in [0, 1] from our start and noise."""
    shape = (SIZE, 1, 8, 8)
    numbers = iter([randn(*shape, seed=0), *(noise(k, shape) for k in range(20))])
    for module in (type(pipeline).__module__, type(pipeline.scheduler).__module__):
        monkeypatch.setattr(
            sys.modules[module], "randn_tensor", lambda *args, **kwargs: next(numbers).to(dtype)
        )
    pipeline.to(dtype)
    return pipeline(batch_size=SIZE, output_type="pt", **arguments).images.numpy()


class TestImport:
    @pytest.fixture(autouse=True)
    def _quiet(self):
        diffusers.utils.logging.disable_progress_bar()

    @pytest.mark.parametrize(("config", "model"), [(GOOGLE, "ddpm_unet"), (TUTORIAL, "diffusers_unet")])
    def test_the_same_samples_and_back_again(
        self,
        ddpmx: Callable[..., Result],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        config: dict[str, Any],
        model: str,
    ):
        pipeline = save(
            tmp_path / "in",
            config,
            diffusers.DDPMScheduler(20, trained_betas=BETAS, variance_type="fixed_large"),
        )
        result = ddpmx("import", tmp_path / "in", "--name", "there", "--out", tmp_path / "runs")
        assert result.code == 0, result.err
        run = Path(result.out.splitlines()[0])
        assert run.parent == tmp_path / "runs" / "there"
        assert load(run / "spec.yaml").model.component_name == model
        reference = theirs(pipeline, monkeypatch, torch.float32, num_inference_steps=20)
        assert np.std(reference) > 0.01
        assert relative(ours(run, torch.float32), reference) <= 1e-5
        pipeline.scheduler.alphas_cumprod = torch.cumprod(1 - torch.tensor(BETAS, dtype=torch.float64), 0)
        reference = theirs(pipeline, monkeypatch, torch.float64, num_inference_steps=20)
        assert relative(ours(run, torch.float64), reference) <= 1e-9

        assert ddpmx("sample", run, "-n", "2", "--out", tmp_path / "two.png").code == 0
        assert ddpmx("export", run, "--to", "diffusers", tmp_path / "out").code == 0
        again = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out")
        weights = again.unet.state_dict()
        assert all(
            torch.equal(weights[name], value.float()) for name, value in pipeline.unet.state_dict().items()
        )
        assert all(
            again.unet.config[key] == (list(value) if isinstance(value, tuple) else value)
            for key, value in config.items()
        )
        assert again.scheduler.config.trained_betas == pytest.approx(BETAS, rel=1e-12)

    def test_ddim_and_a_torch_file_with_the_old_names_of_attention(
        self, ddpmx: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        scheduler = diffusers.DDIMScheduler(
            num_train_timesteps=20,
            beta_schedule="squaredcos_cap_v2",
            clip_sample_range=0.8,
            prediction_type="v_prediction",
        )
        pipeline = save(tmp_path / "in", GOOGLE, scheduler)
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        weights = pipeline.unet.state_dict()
        for new, name in old.items():
            weights = {key.replace(f".{new}.", f".{name}."): value for key, value in weights.items()}
        (tmp_path / "in" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(weights, tmp_path / "in" / "unet" / "diffusion_pytorch_model.bin")
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 0, result.err
        reference = theirs(
            pipeline, monkeypatch, torch.float32, num_inference_steps=5, use_clipped_model_output=True
        )
        assert (
            relative(ours(Path(result.out.splitlines()[0]), torch.float32, ("sampler.steps=5",)), reference)
            <= 1e-5
        )

    def test_an_imported_run_says_when_it_needs_images(self, ddpmx: Callable[..., Result], tmp_path: Path):
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        run = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs").out.splitlines()[0]
        for command in (
            ("evaluate", run, "--metrics", "fd_cnn"),
            ("run", f"{run}/spec.yaml", "--out", tmp_path / "more"),
        ):
            result = ddpmx(*command)
            assert result.code == 2
            assert "no images" in result.err
            assert "-s dataset=" in result.err
        assert not (tmp_path / "more").exists()
        result = ddpmx(
            "evaluate", run, "--metrics", "fd_cnn", "-n", "4", "-s", "dataset=null", "-s", "dataset=digits"
        )
        assert (result.code, result.out.split()[0]) == (0, "fd_cnn")

    @pytest.mark.parametrize(
        ("file", "change", "field"),
        [
            ("unet", {"_class_name": "UNet2DConditionModel"}, "_class_name"),
            ("unet", {"num_class_embeds": 10}, "num_class_embeds"),
            ("unet", {"out_channels": 2}, "out_channels"),
            ("unet", {"sample_size": [8, 16]}, "sample_size"),
            ("scheduler", {"_class_name": "PNDMScheduler"}, "_class_name"),
            ("scheduler", {"variance_type": "learned_range"}, "variance_type"),
            ("scheduler", {"thresholding": True}, "thresholding"),
            ("scheduler", {"prediction_type": "flow_prediction"}, "prediction_type"),
            ("scheduler", {"beta_schedule": "sigmoid"}, "beta_schedule"),
            ("scheduler", {"steps_offset": 1}, "steps_offset"),
        ],
    )
    def test_a_field_that_cannot_be_imported_is_named(
        self, ddpmx: Callable[..., Result], tmp_path: Path, file: str, change: dict[str, Any], field: str
    ):
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        path = tmp_path / "in" / file / ("config.json" if file == "unet" else "scheduler_config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 2
        assert f"{path}: {field}: " in result.err
        assert not (tmp_path / "runs").exists()

    def test_without_diffusers_the_field_that_ddpm_unet_lacks_is_named(
        self, ddpmx: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        save(tmp_path / "in", TUTORIAL, diffusers.DDPMScheduler(20))
        monkeypatch.setitem(sys.modules, "diffusers", None)
        result = ddpmx("import", tmp_path / "in", "--out", tmp_path / "runs")
        assert result.code == 2
        assert "norm_num_groups: is 8" in result.err
        assert "pip install 'ddpmx[diffusers]'" in result.err

    def test_broken_folders(self, ddpmx: Callable[..., Result], tmp_path: Path):
        assert "unet/config.json cannot be read" in ddpmx("import", tmp_path).err
        save(tmp_path / "in", GOOGLE, diffusers.DDPMScheduler(20))
        weights = tmp_path / "in" / "unet" / "diffusion_pytorch_model.safetensors"
        weights.unlink()
        assert "has no weights" in ddpmx("import", tmp_path / "in").err
        torch.save(
            {"conv_in.weight": print}, weights.with_suffix(".bin")
        )  # a function: what unpickling could call
        assert "hold more than tensors" in ddpmx("import", tmp_path / "in").err
        weights.write_bytes(b"not safetensors")
        assert "cannot be read" in ddpmx("import", tmp_path / "in").err

    @pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
    @pytest.mark.parametrize("zero", [False, True])
    def test_schedules_are_theirs(self, schedule: str, zero: bool):
        scheduler = diffusers.DDIMScheduler(100, 0.001, 0.03, schedule, rescale_betas_zero_snr=zero)
        block = from_scheduler({**scheduler.config, "_class_name": "DDIMScheduler"})["schedule"]
        table = SCHEDULES.build(block.pop("name"), **block).table()
        assert torch.allclose(table.alpha_bar.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=1e-6)

    def test_betas_are_as_many_as_timesteps(self):
        with pytest.raises(SpecError, match="2 values are given for 3 timesteps"):
            SCHEDULES.build("betas", timesteps=3, values=(0.1, 0.2))
