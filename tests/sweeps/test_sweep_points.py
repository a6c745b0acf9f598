"""The `sweep:` block: its specs, their names, and where its errors are reported."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import TINY, Result

from ddpmx.errors import SpecError
from ddpmx.spec.loading import load
from ddpmx.spec.schema import difference
from ddpmx.sweeps.points import Sweep, load_sweep

Run = Callable[..., Result]
LINES = TINY.count("\n")


@pytest.fixture
def sweep(tiny: Path) -> Callable[..., Sweep]:
    """The grid of TINY with a `sweep:` block of these lines."""

    def write(block: str, *overrides: str) -> Sweep:
        tiny.write_text(TINY + "sweep:\n" + "".join(f"  {line}\n" for line in block.splitlines()))
        return load_sweep(tiny, overrides)

    return write


def values(grid: Sweep, *fields: str) -> list[tuple[Any, ...]]:
    def value(data: Any, field: str) -> Any:
        for key in field.split("."):
            data = data[key]
        return data

    return [tuple(value(spec.resolved(), field) for field in fields) for spec in grid.points]


def test_fields_multiply_in_the_order_of_the_block(sweep: Callable[..., Sweep]) -> None:
    grid = sweep("loss.norm: [l1, l2]\nseed: [0, 1, 2]\ntrain.lr: [1e-3, 2e-3]")
    assert values(grid, "loss.norm", "seed", "train.lr") == list(
        itertools.product(["l1", "l2"], [0, 1, 2], [1e-3, 2e-3])
    )
    assert [spec.name for spec in grid.points[:2]] == [
        "tiny-norm_l1-seed_0-lr_0.001",
        "tiny-norm_l1-seed_0-lr_0.002",
    ]


def test_zip_advances_together_and_multiplies_with_the_rest(sweep: Callable[..., Sweep]) -> None:
    grid = sweep("zip: {train.lr: [1e-3, 2e-3], train.batch_size: [32, 64]}\nseed: [0, 1]")
    pairs = [(1e-3, 32), (2e-3, 64)]
    assert values(grid, "train.lr", "train.batch_size", "seed") == [
        (*pair, seed) for pair in pairs for seed in (0, 1)
    ]


def test_points_take_dotted_fields_and_blocks(sweep: Callable[..., Sweep]) -> None:
    grid = sweep(
        "points:\n  - {name: plain}\n"
        "  - name: other\n    loss: {norm: huber}\n    loss.delta: 0.5\n    schedule.timesteps: 30"
    )
    assert [spec.name for spec in grid.points] == ["tiny-plain", "tiny-other"]
    assert values(grid, "loss.norm", "loss.delta", "schedule.timesteps") == [
        ("l2", 1.0, 20),
        ("huber", 0.5, 30),
    ]


def test_a_point_differs_from_its_base_in_what_it_sets_and_its_name(
    sweep: Callable[..., Sweep], tmp_path: Path
) -> None:
    grid = sweep("model: [{name: ddpm_unet, dim: 8}]\nschedule: [linear]\ntrain.grad_clip: [null]")
    (tmp_path / "base.yaml").write_text(TINY)
    changed = difference(load(tmp_path / "base.yaml").resolved(), grid.points[0].resolved())
    assert {field.split(".")[0] for field in changed} == {"name", "model", "schedule", "train"}
    assert grid.points[0].train.grad_clip is None
    assert grid.points[0].schedule.timesteps == 20  # a bare name keeps the base's other keys, as in `extends`


def test_names_are_folders_unique_and_of_bounded_length(sweep: Callable[..., Sweep]) -> None:
    grid = sweep(
        "track: [[], [{name: tensorboard}]]\ntrain.lr: [1e-5, 1e+5]\n"
        "schedule.name: [cosine, linear]\nmodel.dim_mults: [[1, 2], [1, 1]]\n"
        "evaluate.sampler.steps: [3, 4]\nsampler: [{name: ddim, steps: 5, eta: 0.25, grid: trailing}, ddpm]"
    )
    names = [spec.name for spec in grid.points]
    assert len(set(names)) == len(names) == 64
    assert all(re.fullmatch(r"tiny-[A-Za-z0-9_.-]+", name) and len(name) <= 100 for name in names)


@pytest.mark.parametrize(
    ("block", "labels"),
    [
        ("seed: [0, 1]\nloss.norm: [l1, l2]", ["norm_l1", "norm_l2"]),
        ("loss.norm: [l1, l2]\nseed: [3, 1]\ntrain.lr: [1e-3]", ["norm_l1-lr_0.001", "norm_l2-lr_0.001"]),
        ("zip: {seed: [0, 1], train.lr: [1e-3, 2e-3]}", ["lr_0.001", "lr_0.002"]),
        ("zip: {train.lr: [1e-3, 1e-3], seed: [0, 1]}\nloss.norm: [l1]", ["lr_0.001-norm_l1"]),
        ("seed: [0, 1]\npoints: [{name: a-seed_0}, {name: b, loss.norm: l1}]", ["a-seed_0", "b"]),
        ("points: [{name: a, seed: 0}, {name: b, seed: 1}, {name: c, loss.norm: l1}]", ["a", "c"]),
        ("evaluate.seed: [0, 1]\nseed: [0, 1]", ["evaluate.seed_0", "evaluate.seed_1"]),
        ("seed: [0, 1]\ntrack: [[], [tensorboard]]", ["track_"]),
        ("seed: [0, 1, 2]", ["tiny"]),
    ],
)
def test_a_label_is_a_points_name_without_the_sweeps_and_the_seed(
    sweep: Callable[..., Sweep], block: str, labels: list[str]
) -> None:
    grid = sweep(block)
    assert list(grid.by_label) == labels
    assert sorted(spec.name for specs in grid.by_label.values() for spec in specs) == sorted(
        spec.name for spec in grid.points
    )
    for specs in grid.by_label.values():
        assert len({json.dumps(spec.resolved() | {"name": 0, "seed": 0, "track": 0}) for spec in specs}) == 1


def test_labels_are_unique_and_of_bounded_length_whatever_the_seeds(
    sweep: Callable[..., Sweep], tmp_path: Path
) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a+b").mkdir()
    block = (
        "dataset: [{name: image_folder, path: a b}, {name: image_folder, path: a+b}]\n"
        f"points: [{{name: {'x' * 95}, evaluate.samples: 9}}, {{name: {'x' * 95}, train.lr: 1e-3}}]\n"
    )
    one, three = (list(sweep(f"{block}seed: {seeds}").by_label) for seeds in ([0], [5, 6, 7]))
    assert one == three
    assert len(set(one)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", label) for label in one)


def test_values_with_equal_labels_get_different_names(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a+b").mkdir()
    names = [
        spec.name
        for spec in sweep(
            "dataset: [{name: image_folder, path: a b}, {name: image_folder, path: a+b}]"
        ).points
    ]
    assert len(set(names)) == 2
    assert all(name.startswith("tiny-dataset_image_folder_path_a_b-") for name in names)


def test_fields_that_end_alike_have_different_labels(sweep: Callable[..., Sweep]) -> None:
    grid = sweep(
        "sampler: [{name: ddim, steps: 4}]\nevaluate.sampler.steps: [3]\ntrain.steps: [5]\n"
        "evaluate.seed: [1]\nseed: [2]"
    )
    (point,) = grid.points
    assert (
        point.name
        == "tiny-sampler_ddim_steps_4-evaluate.sampler.steps_3-train.steps_5-evaluate.seed_1-seed_2"
    )


def test_overrides_apply_below_the_points(sweep: Callable[..., Sweep]) -> None:
    grid = sweep(
        "seed: [0, 1]\nzip: {train.lr: [1e-3]}",
        "train.steps=7",
        "sweep.seed=[5]",
        "sweep.zip.train.lr=[2e-3, 3e-3]",
        "name=again",
    )
    assert values(grid, "name", "seed", "train.steps", "train.lr") == [
        ("again-seed_5-lr_0.002", 5, 7, 2e-3),
        ("again-seed_5-lr_0.003", 5, 7, 3e-3),
    ]


def test_an_inherited_sweep_grows_and_shrinks(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(TINY + "sweep: {seed: [0, 1], loss.norm: [l1, l2]}\n")
    (tmp_path / "more.yaml").write_text(
        "extends: base.yaml\nname: more\nsweep: {seed: null, train.lr: [1e-3]}\n"
    )
    assert [spec.name for spec in load_sweep(tmp_path / "more.yaml").points] == [
        "more-norm_l1-lr_0.001",
        "more-norm_l2-lr_0.001",
    ]
    (tmp_path / "single.yaml").write_text("extends: base.yaml\nname: single\nsweep: null\n")
    assert load(tmp_path / "single.yaml").name == "single"


def test_a_swept_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "s.yaml").write_text(TINY + "sweep: {dataset: [{name: mnist, path: here}]}\n")
    (point,) = load_sweep(tmp_path / "below" / "s.yaml").points
    assert point.dataset.path == str(tmp_path / "below" / "here")


REFUSED = [
    (
        "unknown name",
        "seed: [0]\nloss.weighting: [constant, vlbb]",
        2,
        ["loss.weighting", "did you mean 'vlb'", "point tiny-seed_0-weighting_vlbb"],
    ),
    ("a value out of range", "train.lr:\n  - 1e-3\n  - -1.0", 3, ["train.lr", "greater than 0"]),
    ("unknown field", "sed: [0]", 1, ["sweep.sed", "did you mean 'seed'"]),
    ("unknown inner field", "train.batchsize: [8]", 1, ["train.batchsize", "did you mean 'batch_size'"]),
    ("misspelt points", "seed: [0]\npionts: [{name: a}]", 2, ["sweep.pionts", "did you mean 'points'"]),
    ("no list", "seed: 3", 1, ["sweep.seed", "list"]),
    ("an empty list", "seed: []", 1, ["sweep.seed", "at least one"]),
    ("an empty block", "{}", 0, ["sweep", "seed: [0, 1]"]),
    (
        "zip of two lengths",
        "zip:\n  seed: [0, 1]\n  train.lr: [1e-3]",
        3,
        ["sweep.zip.train.lr", "1 values", "seed has 2"],
    ),
    ("zip of a list", "zip: [1]", 1, ["sweep.zip", "lists of one length"]),
    ("a point without a name", "points:\n  - {name: a}\n  - {seed: 1}", 3, ["sweep.points.1", "name:"]),
    ("a point with a path for a name", "points:\n  - {name: ../a}", 2, ["sweep.points.0", "letters"]),
    (
        "a point with an unknown field",
        "points:\n  - name: a\n    losss.norm: l1",
        3,
        ["sweep.points.0.losss.norm", "did you mean 'loss'"],
    ),
    (
        "a point's wrong value",
        "points:\n  - name: a\n    loss:\n      norm: l3",
        4,
        ["loss.norm", "'l3'", "point tiny-a"],
    ),
    ("the name", "name: [a, b]", 1, ["sweep.name", "all points share it"]),
    ("plugins", "plugins: [[a.py]]", 1, ["sweep.plugins", "all points share it"]),
    ("an empty part", "train..lr: [1]", 1, ["sweep.train..lr"]),
    ("the same twice", "seed: [0, 0]", 0, ["tiny-seed_0", "the same experiment"]),
    (
        "the same by two ways",
        "points: [{name: a}, {name: b, seed: 0}]",
        0,
        ["tiny-a and tiny-b are the same experiment"],
    ),
    (
        "too many",
        "seed: &a [" + ",".join(map(str, range(101))) + "]\nevaluate.seed: *a",
        0,
        ["10,201 points"],
    ),
]


@pytest.mark.parametrize(
    ("block", "line", "wanted"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_wrong_block_is_named(
    sweep: Callable[..., Sweep], block: str, line: int, wanted: list[str]
) -> None:
    with pytest.raises(SpecError) as error:
        sweep(block)
    for text in (f"tiny.yaml:{LINES + 1 + line}: ", *wanted):
        assert text in str(error.value)


def test_an_override_that_every_point_would_hide_is_refused(sweep: Callable[..., Sweep]) -> None:
    for field in ("seed", "train.lr"):
        with pytest.raises(SpecError, match=rf"-s {field}=3: {field}: .*sweep\.{field}="):
            sweep("seed: [0, 1]\nzip: {train.lr: [1e-3]}", f"{field}=3")


def test_a_name_that_cannot_be_a_folder(sweep: Callable[..., Sweep]) -> None:
    for name in ("../up", "''", "3", "x" * 101):
        with pytest.raises(SpecError, match="name"):
            sweep("seed: [0]", f"name={name}")


def test_run_and_show_point_to_ddpmx_sweep(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY + "sweep: {seed: [0, 1]}\n")
    for command in (("run", tiny, "--out", tmp_path / "runs"), ("show", tiny)):
        result = ddpmx(*command)
        assert result.code == 2
        assert f"{tiny}:{LINES + 1}: sweep: " in result.err
        assert "ddpmx sweep" in result.err
    assert not (tmp_path / "runs").exists()


def test_validate_checks_every_point(ddpmx: Run, tiny: Path) -> None:
    tiny.write_text(TINY + "sweep:\n  schedule.timesteps: [20, 40]\n  evaluate.sampler.steps: [3, 20]\n")
    result = ddpmx("validate", tiny)
    assert result.code == 0
    assert f"{tiny}: valid, 4 points" in result.out
    tiny.write_text(TINY + "sweep:\n  schedule.timesteps: [20, 40]\n  evaluate.sampler.steps: [3, 30]\n")
    refused = ddpmx("validate", tiny)
    assert refused.code == 2
    assert f"{tiny}:{LINES + 3}: evaluate.sampler.steps" in refused.err  # too many for T = 20 only


def test_the_schema_knows_the_block(ddpmx: Run, sweep: Callable[..., Sweep]) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(ddpmx("schema").out))
    spec = {
        "name": "a",
        "dataset": "digits",
        "model": {"name": "convnext_unet", "dim": 8},
        "schedule": {"name": "linear", "timesteps": 9},
    }
    good: list[Any] = [
        {"seed": [0]},
        {"zip": {"seed": [0], "train.lr": [1]}, "points": [{"name": "a", "seed": 1}]},
    ]
    bad: list[Any] = [
        {},
        [],
        {"seed": 0},
        {"seed": []},
        {"points": [{"seed": 1}]},
        {"zip": {"seed": 1}},
        {"points": {"name": "a"}},
    ]
    assert [validator.is_valid({**spec, "sweep": block}) for block in (*good, *bad)] == [True] * len(good) + [
        False
    ] * len(bad)
