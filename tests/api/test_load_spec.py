"""`ddpmx.load_spec` reads files and Python values alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

import ddpmx
from ddpmx.errors import SpecError
from ddpmx.spec import loading

VALUES: dict[str, Any] = {
    "name": "tiny",
    "dataset": "digits",
    "model": {"name": "convnext_unet", "dim": 8, "dim_mults": (1, 2)},
    "schedule": {"name": "cosine", "timesteps": 20},
    "train": {"steps": 12, "batch_size": 64, "lr": 1e-3},
    "evaluate": {"sampler": {"name": "ddim", "steps": 3}, "grid": 4, "samples": 8},
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


def test_a_mapping_is_the_spec_of_a_file_with_the_same_fields(tiny: Path) -> None:
    expected = loading.load(tiny).resolved()
    assert [ddpmx.load_spec(spec).resolved() for spec in (VALUES, tiny, str(tiny))] == [expected] * 3


@pytest.mark.parametrize(
    ("overrides", "arguments"),
    [
        ({"train.steps": 200, "seed": 3}, ["train.steps=200", "seed=3"]),
        ({"train.ema": None, "loss.weighting": "min_snr"}, ["train.ema=null", "loss.weighting=min_snr"]),
        ({"sampler": {"name": "unipc", "steps": 10}}, ["sampler={name: unipc, steps: 10}"]),
        ({"model": {"name": "ddpm_unet", "dim": 8}}, ["model={name: ddpm_unet, dim: 8}"]),
        (
            {"evaluate.metrics": ["pixel_fd", "fd_cnn"], "evaluate.metrics.0": {"name": "pixel_fd"}},
            ["evaluate.metrics=[pixel_fd, fd_cnn]", "evaluate.metrics.0={name: pixel_fd}"],
        ),
    ],
    ids=["numbers", "null", "block", "another component", "item"],
)
def test_overrides_do_what_those_of_the_command_line_do(
    tiny: Path, overrides: dict[str, Any], arguments: list[str]
) -> None:
    expected = loading.load(tiny, arguments)
    for spec in (tiny, VALUES, ddpmx.load_spec(tiny)):
        changed = ddpmx.load_spec(spec, overrides)
        assert changed.resolved() == expected.resolved()
        assert changed.notes == expected.notes


def test_a_spec_is_returned_as_it_is(tiny: Path) -> None:
    spec = ddpmx.load_spec(tiny)
    assert ddpmx.load_spec(spec) is spec
    copied = spec.model_copy(update={"seed": 7})
    assert ddpmx.load_spec(copied, {"train.steps": 5}).seed == 7


def test_a_component_stands_for_its_block() -> None:
    sampler = ddpmx.SAMPLERS.build("ddim", steps=5, eta=0.5)
    spec = ddpmx.load_spec(VALUES | {"sampler": sampler}, {"evaluate.sampler": sampler})
    assert spec.sampler == spec.evaluate.sampler == sampler


def test_a_mapping_extends_files_and_keeps_its_values(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    values = {"extends": "tiny.yaml", "name": "other", "train": {"init_from": "weights.safetensors"}}
    spec = ddpmx.load_spec(values)
    assert (spec.name, spec.train.steps) == ("other", 12)
    assert spec.train.init_from == str(tiny.parent / "weights.safetensors")
    assert values == {"extends": "tiny.yaml", "name": "other", "train": {"init_from": "weights.safetensors"}}
    extended = ddpmx.load_spec({"name": "third"}, {"extends": "tiny.yaml"})
    assert extended.resolved() == {**ddpmx.load_spec(tiny).resolved(), "name": "third"}
    path = ddpmx.load_spec(VALUES, {"train.init_from": Path("a")}).train.init_from
    assert path == str(tiny.parent / "a")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"step": 3}}, "^spec: train.step: unknown key; did you mean 'steps'"),
        ({"schedule": "cosin"}, "^spec: schedule.name: unknown schedule 'cosin'"),
        ({"train": {"lr": float("nan")}}, "^spec: train.lr: nan is not a finite number"),
        (
            {"train": {"lr": b"1"}},
            "^spec: train.lr: should be text, a number, a list or a mapping, not bytes",
        ),
        ({"train": {3: 4}}, "^spec: train: a key should be text, not 3"),
        ({"name": "a\x00"}, "^spec: name: should be printable text"),
        ({"sweep": {"seed": [0, 1]}}, "^spec: sweep: the file describes a sweep"),
        ({"extends": 3}, "^spec: extends: should be a file or a list of files"),
        ({"name": None}, "^spec: name: "),
    ],
)
def test_a_wrong_value_is_named(values: dict[Any, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ddpmx.load_spec(VALUES | values)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.step": 3}, "^overrides: train.step: unknown key; did you mean 'steps'"),
        ({"train.steps": "3"}, "^overrides: train.steps: "),
        ({"train..steps": 3}, "^overrides: 'train..steps' should be a field, such as 'train.lr'"),
        ({3: 3}, "^overrides: 3 should be a field"),
        ({"train.lr": object()}, "^overrides: train.lr: should be text, a number"),
    ],
)
def test_a_wrong_override_is_named(overrides: dict[Any, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ddpmx.load_spec(VALUES, overrides)


def test_a_value_nested_in_itself_is_refused() -> None:
    block: dict[str, Any] = {}
    block["train"] = block
    with pytest.raises(SpecError, match="should have at most 50 levels"):
        ddpmx.load_spec(VALUES | {"train": block})
