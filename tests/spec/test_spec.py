"""Reading specs: YAML 1.2, merging, overrides, plugins, round trips, the JSON Schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import TINY, Result

import ddpmx
from ddpmx.spec.loading import load
from ddpmx.spec.schema import difference
from ddpmx.spec.source import Source
from ddpmx.spec.yaml_source import parse
from ddpmx.storage.folder import to_yaml

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("~", None),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("12:30", "12:30"),
        ("'1'", "1"),
        ("-.5", -0.5),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    got = parse(f"a: {text}", "f").data["a"]
    assert got == value
    assert type(got) is type(value)


def test_an_error_is_placed_where_its_field_or_the_block_around_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TINY)
    spec = load(path, ["train.lr=2"])
    lines = {
        field: spec.error(field, "wrong", hint="better").lines()
        for field in ("schedule.timesteps", "schedule.mine", "train.lr")
    }
    assert lines == {
        "schedule.timesteps": [f"{path}:5: schedule.timesteps: wrong (better)"],
        "schedule.mine": [f"{path}:5: schedule.mine: wrong (better)"],
        "train.lr": ["-s train.lr=2: train.lr: wrong (better)"],
    }


def test_defaults_are_the_contracts(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: a\ndataset: digits\nmodel: {name: convnext_unet, dim: 8}\n"
        "schedule: {name: linear, timesteps: 10}\n"
        "evaluate: {sampler: {steps: 5}}\n"
    )
    resolved = load(path).resolved()
    assert resolved["seed"] == 0
    assert resolved["prediction"]["name"] == "epsilon"
    assert resolved["time"]["name"] == "uniform"
    assert resolved["loss"]["norm"] == "l2"
    assert resolved["loss"]["weighting"]["name"] == "constant"
    assert resolved["sampler"]["name"] == "ddpm"
    assert resolved["sampler"]["variance"] == "posterior"
    assert resolved["evaluate"]["every_epochs"] == 5
    assert resolved["evaluate"]["samples"] == 1000
    # A block without a name changes parameters of the default component.
    assert resolved["evaluate"]["sampler"]["name"] == "ddim"
    assert resolved["evaluate"]["sampler"]["steps"] == 5
    assert resolved["track"] == []
    assert resolved["backend"] == "auto"


def test_extends_merges_deep_in_order_and_replaces_lists(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "a.yaml").write_text(TINY)
    (tmp_path / "base" / "b.yaml").write_text("train: {lr: 5e-4, patience: 3}\nschedule: {timesteps: 30}\n")
    path = tmp_path / "child.yaml"
    path.write_text(
        "extends: [base/a.yaml, base/b.yaml]\nname: child\ntrain: {patience: null, batch_size: 32}\n"
        "model: {dim_mults: [1]}\n"
    )
    spec = load(path, ["train.batch_size=16"])
    assert spec.name == "child"
    assert (spec.train.lr, spec.train.patience, spec.train.batch_size, spec.train.steps) == (
        5e-4,
        None,
        16,
        12,
    )
    assert spec.schedule.timesteps == 30
    assert spec.schedule.component_name == "cosine"
    assert spec.model.dim_mults == (1,)


def test_null_removes_an_inherited_key_and_is_a_value_where_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TINY.replace("lr: 1e-3", "lr: 1e-3, grad_clip: 2.0"))
    path = tmp_path / "b.yaml"
    path.write_text(
        "extends: a.yaml\ntrain: {lr: null, grad_clip: null}\nmodel: {dim_mults: null}\n"
        "schedule: {no_such_key: null}\n"
    )
    with pytest.raises(ddpmx.SpecError, match="no_such_key: unknown key"):
        load(path)
    path.write_text("extends: a.yaml\ntrain: {lr: null, grad_clip: null}\n")
    spec = load(path)
    assert spec.train.grad_clip is None
    assert spec.train.lr == 3e-4  # back to the default


def test_null_over_a_required_block_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TINY)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nschedule: null\n")
    with pytest.raises(ddpmx.SpecError, match="schedule: required"):
        load(tmp_path / "b.yaml")


def test_a_bare_string_merges_like_its_block() -> None:
    merged = Source({"sampler": "ddim"}).merge(Source({"sampler": {"steps": 5}}))
    assert merged.data == {"sampler": {"name": "ddim", "steps": 5}}
    merged = Source({"sampler": {"name": "ddpm", "clip": 2.0}}).merge(Source({"sampler": "ddim"}))
    assert merged.data == {"sampler": {"name": "ddim", "clip": 2.0}}


def test_an_override_reaches_into_lists(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TINY.replace("samples: 8", "samples: 8, metrics: [{name: fd_cnn}, is_cnn]"))
    spec = load(path, ["evaluate.metrics.0.reference=train"])
    assert spec.evaluate.metrics[0].reference == "train"
    assert len(spec.evaluate.metrics) == 2


def test_errors_name_the_file_that_wrote_the_value(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TINY)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n\ntrain:\n  batch_size: 32\n  lr: 0\n")
    with pytest.raises(ddpmx.SpecError, match=r"b\.yaml:5: train\.lr"):
        load(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nschedule: {name: linear, s: 0.01}\n")
    with pytest.raises(ddpmx.SpecError, match=r"b\.yaml:2: schedule\.s: unknown key"):
        load(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("clip", "match"),
    [
        ("-1", r"sampler\.clip: should be a number greater than 0"),
        ("true", r"sampler\.clip: should be a number greater than 0"),
        ("dynmic", r"sampler\.clip\.name: should be 'dynamic', not 'dynmic'"),
        (
            "{name: dynamic, percentile: 1.5}",
            r"sampler\.clip\.percentile: should be less than or equal to 1, not 1\.5",
        ),
        (
            "{name: dynamic, percentil: 0.9}",
            r"sampler\.clip\.percentil: unknown key; did you mean 'percentile'\?",
        ),
    ],
)
def test_a_clip_is_a_number_or_dynamic(tmp_path: Path, clip: str, match: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TINY + f"sampler: {{name: ddpm, clip: {clip}}}\n")
    with pytest.raises(ddpmx.SpecError, match=r"s\.yaml:\d+: " + match):
        load(path)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "sampler: {name: ddpm, clip: {name: dynamic, percentile: 0.9}}\n",
        "sampler: {name: ddpm, clip: dynamic}\n",
    ],
)
def test_a_resolved_spec_is_a_spec_of_the_same_run(tmp_path: Path, extra: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TINY + extra)
    resolved = load(path).resolved()
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(resolved))
    assert load(again).resolved() == resolved


def test_difference_names_dotted_paths() -> None:
    assert difference({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 1}) == ["a.c", "d", "e"]
    assert difference({"a": [1]}, {"a": [1]}) == []


def test_a_schedule_plugin_of_ten_lines(tmp_path: Path) -> None:
    code = '''
import torch
import ddpmx

@ddpmx.SCHEDULES.register("power_law", paper="none")
class PowerLaw(ddpmx.Schedule):
    """β grows like a power of t."""
    power: float = 2.0
    def beta(self):
        return 1e-4 + 0.02 * torch.linspace(0, 1, self.timesteps, dtype=torch.float64) ** self.power
'''
    assert len(code.strip().splitlines()) <= 12
    (tmp_path / "mine.py").write_text(code)
    path = tmp_path / "s.yaml"
    path.write_text(TINY.replace("name: cosine", "name: power_law, power: 3.0") + "plugins: [mine.py]\n")
    spec = load(path)
    beta = spec.schedule.table().beta
    assert beta[0] == pytest.approx(1e-4, rel=1e-9)
    assert beta[10] == pytest.approx(1e-4 + 0.02 * (10 / 19) ** 3, rel=1e-9)
    own = {"name": "power_law", "timesteps": 20, "power": 3.0}
    assert spec.resolved()["schedule"] == {**own, "zero_terminal_snr": False, "snr_shift": 1.0}
    assert "power_law" in ddpmx.SCHEDULES.names()
    load(path)  # loading the same plugin again does not register its names twice


def test_an_installed_package_registers_through_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "my_package.py").write_text(
        "import ddpmx\n@ddpmx.WEIGHTINGS.register('two')\nclass Two(ddpmx.Weighting):\n    '''Twice.'''\n"
        "    def x_start_weight(self, table):\n        return 2 * table.log_snr.exp()\n"
    )
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ddpmx.plugins]\nmine = my_package\n")
    script = "import ddpmx.components.catalogue; print(ddpmx.components.catalogue.listing('weighting'))"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"two\s+Twice\.", done.stdout)


def test_registries_build_and_suggest() -> None:
    assert "linear" in ddpmx.SCHEDULES.names()
    assert ddpmx.SCHEDULES.build("linear", timesteps=1000).timesteps == 1000
    with pytest.raises(ddpmx.SpecError, match="did you mean 'linear'"):
        ddpmx.SCHEDULES.build("linaer", timesteps=1000)
    with pytest.raises(ddpmx.SpecError, match="did you mean 'timesteps'"):
        ddpmx.SCHEDULES.build("linear", timestep=1000)
    with pytest.raises(ddpmx.SpecError, match="timesteps"):
        ddpmx.SCHEDULES.build("linear", timesteps=float("nan"))


def test_aliases_mean_the_same_component() -> None:
    for alias, name in {
        "noise": "epsilon",
        "sample": "x_start",
        "v_prediction": "v",
        "flow": "velocity",
    }.items():
        assert ddpmx.PREDICTIONS.build(alias).component_name == name


def test_the_schema_accepts_what_the_loader_accepts(ddpmx: Run, tiny: Path) -> None:
    result = ddpmx("schema")
    assert result.code == 0
    schema = json.loads(result.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(parse(TINY, "f").data))
    assert not list(validator.iter_errors(load(tiny).resolved()))
    wrong = parse(TINY.replace("timesteps", "timestep"), "f").data
    assert list(validator.iter_errors(wrong))
    assert schema["$defs"]["TrainSpec"]["properties"]["batch_size"]["default"] == 128


def test_the_public_names_are_what_the_package_says() -> None:
    for name in ddpmx.__all__:
        assert getattr(ddpmx, name) is not None
    with pytest.raises(AttributeError):
        ddpmx.no_such_name  # noqa: B018


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom ddpmx.cli import cli\n"
        "for command in [[], *[[name] for name in cli.commands]]:\n"
        "    try: cli.main([*command, '--help'])\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'torch', 'pydantic', 'datasets', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout
