"""No default makes a spec invalid: each component is checked with defaults, for short and long schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

from ddpmx.components.registry import REGISTRIES, SAMPLERS, SCHEDULES
from ddpmx.errors import SpecError
from ddpmx.spec.checks import check
from ddpmx.spec.loading import load
from ddpmx.spec.schema import Spec

PLACES = {
    "weighting": ["loss.weighting"],
    "metric": ["evaluate.metrics"],
    "tracker": ["track"],
    "optimizer": ["train.optimizer"],
    "ema": ["train.ema"],
}
PLACES |= {"sampler": ["sampler", "evaluate.sampler"]}
BUILT_IN = [
    (kind, name, field)
    for kind, registry in REGISTRIES.items()
    for name in registry.names()
    if registry.get(name).__module__.startswith("ddpmx.")
    for field in PLACES.get(kind, [kind])
]
REQUIRED: dict[str, dict[str, Any]] = {
    "hub": {"repo": "a/b"},
    "image_folder": {"path": "images"},
    "parquet": {"path": "images"},
    "tensor": {"path": "images.npy"},
    "no_images": {"size": 8, "channels": 1},
    "jsonl": {"path": "events.jsonl"},
    "convnext_unet": {"dim": 8},
    "ddpm_unet": {"dim": 8},
}
# What a component requires of other fields. Without it, the message says so, at the component's own line.
NEEDS = {
    ("schedule", "flow"): (10**9, "predict v, or velocity for flow"),
    ("weighting", "vlb"): (10**9, "set its clip or first"),
    ("weighting", "elbo"): (2, "at least 2 timesteps"),
}


def minimal(timesteps: int, field: str = "", block: Any = None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "a",
        "dataset": "digits",
        "model": {"name": "convnext_unet", "dim": 8},
        "schedule": {"name": "linear", "timesteps": timesteps},
    }
    *parents, leaf = field.split(".")
    inner = data
    for key in parents:
        inner = inner.setdefault(key, {})
    if field:
        inner[leaf] = [block] if field in ("evaluate.metrics", "track") else block
    return data


def block_of(kind: str, name: str, timesteps: int) -> dict[str, Any]:
    block = {"name": name, **REQUIRED.get(name, {})}
    if kind == "schedule":
        block["timesteps"] = timesteps
    return {**block, "values": [0.01] * timesteps} if name == "betas" else block


@pytest.mark.parametrize(
    ("kind", "name", "field"), BUILT_IN, ids=[f"{field}-{name}" for _, name, field in BUILT_IN]
)
def test_a_component_with_all_else_default(
    kind: str, name: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ddpmx.trackers.base.require", lambda *_: None
    )  # the tracker's package may not be installed
    for timesteps in (1, 2, 40):
        spec = Spec.model_validate(minimal(timesteps, field, block_of(kind, name, timesteps)))
        least, needs = NEEDS.get((kind, name), (1, ""))
        if timesteps < least:
            with pytest.raises(SpecError, match=needs):
                check(spec)
        else:
            check(spec)


def test_default_steps_are_50_or_all_there_are_and_the_resolved_spec_says_so() -> None:
    for timesteps in range(1, 2001):
        resolved = Spec.model_validate(minimal(timesteps)).resolved()
        assert resolved["evaluate"]["sampler"]["steps"] == min(50, timesteps)
        assert resolved["sampler"]["steps"] is None  # ddpm's default: all timesteps
    for name in SAMPLERS.names():
        sampler = SAMPLERS.build(name)
        for timesteps in (1, 2, 7, 49, 50, 51, 2000):
            steps = sampler.fitted(timesteps).steps
            assert steps == (None if sampler.steps is None else min(sampler.steps, timesteps))


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_a_schedule_of_any_length_has_a_table(name: str) -> None:
    for timesteps in (*range(1, 61), 100, 999, 1000, 2000):
        block = block_of("schedule", name, timesteps)
        assert SCHEDULES.build(block.pop("name"), **block).table().timesteps == timesteps


def test_the_grid_of_all_timesteps_takes_all_by_default() -> None:
    spec = Spec.model_validate(minimal(120, "evaluate.sampler", {"grid": "all"}))
    assert spec.evaluate.sampler.steps == 120
    check(spec)


def test_steps_that_are_written_are_not_changed(tiny: Path) -> None:
    tiny.write_text(TINY.replace("steps: 3", "steps: 50"))
    with pytest.raises(
        SpecError,
        match=r"tiny\.yaml:7: evaluate\.sampler\.steps: should be at most the schedule's 20 timesteps, "
        r"not 50",
    ):
        check(load(tiny))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("schedule: {name: flow, timesteps: 9}", "4: schedule"),
        ("schedule: {name: flow, timesteps: 9}\nprediction: epsilon", "5: prediction"),
        ("schedule: {name: linear, timesteps: 9, zero_terminal_snr: true}", "4: schedule"),
        ("schedule: {name: flow, timesteps: 9}\nloss: {weighting: constant}", "4: schedule"),
    ],
)
def test_what_a_default_cannot_follow_is_blamed_on_a_line_that_the_user_wrote(
    tmp_path: Path, text: str, where: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"name: a\ndataset: digits\nmodel: {{name: convnext_unet, dim: 8}}\n{text}\n")
    with pytest.raises(SpecError) as error:
        check(load(path))
    (line,) = error.value.lines()
    assert line.startswith(f"{path}:{where}: the prediction 'epsilon' cannot recover x_0 at index 8")
