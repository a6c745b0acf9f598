"""The specs of a sweep and the seeds that are added to it, and the options of --until-settled."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import TINY, Result

from ddpmx.errors import SpecError
from ddpmx.sweeps import settle_words
from ddpmx.sweeps.points import load_sweep
from ddpmx.sweeps.request import Request
from ddpmx.sweeps.seeded import Seeded
from ddpmx.sweeps.settle_options import Margin, SettleOptions, seconds

Run = Callable[..., Result]
NORMS = "loss.norm: [l1, l2]"


def seeded(folder: Path, sweep: str, *overrides: str) -> Seeded:
    file = folder / "tiny.yaml"
    file.write_text(f"{TINY}sweep: {{{sweep}}}\n")
    request = Request(file, overrides, folder / "runs")
    return Seeded.of(request, load_sweep(file, overrides))


@pytest.mark.parametrize(
    ("sweep", "overrides", "seeds"),
    [
        (NORMS, (), (0, 1, 2, 3, 4)),
        (NORMS, ("seed=7",), (7, 8, 9, 10, 11)),
        (f"seed: [0, 1], {NORMS}", (), (0, 1, 2, 3, 4)),
        (f"{NORMS}, seed: [5, 2, 4]", (), (5, 2, 4, 3, 6)),
        (NORMS, ("sweep.seed=[3, 1]",), (3, 1, 2, 4, 5)),
        (f"{NORMS}, seed: [0, 1, 2, 3, 4, 5]", (), (0, 1, 2, 3, 4, 5)),
    ],
)
def test_added_seeds_are_the_lowest_unused_ones(
    sweep: str, overrides: tuple[str, ...], seeds: tuple[int, ...], tmp_path: Path
):
    specs = seeded(tmp_path, sweep, *overrides)
    assert specs.names == ("norm_l1", "norm_l2")
    assert specs.seeds(5) == seeds
    for seed in seeds:
        for index, norm in enumerate(("l1", "l2")):
            point = specs.point(index, seed)
            assert (point.seed, point.loss.norm) == (seed, norm)


@pytest.mark.parametrize(
    ("sweep", "overrides"),
    [(NORMS, ()), (NORMS, ("seed=7",)), (f"seed: [0, 1], {NORMS}", ()), (f"{NORMS}, seed: [0, 1]", ())],
)
def test_an_added_point_is_that_of_the_sweep_with_this_seed(
    sweep: str, overrides: tuple[str, ...], tmp_path: Path
):
    specs = seeded(tmp_path, sweep, *overrides)
    command = specs.batch(12).request.command("tiny")
    given = [text for option, text in pairwise(command) if option == "-s"]
    assert given == ["sweep.seed=[12]"]
    of_file = load_sweep(specs.request.path, given)
    assert [point.resolved() for point in of_file.points] == [
        specs.point(spec, 12).resolved() for spec in range(2)
    ]
    # A sweep that has this seed from the start has the same points.
    longer = load_sweep(specs.request.path, ["sweep.seed=[0, 12]"])
    assert {point.name for point in of_file.points} < {point.name for point in longer.points}


@pytest.mark.parametrize(
    ("sweep", "text"),
    [
        ("seed: [0, 1, 2]", "single spec"),
        ("points: [{name: a, seed: 0}, {name: b, seed: 1, loss.norm: l1}]", "different seeds"),
        ("zip: {seed: [0, 1], loss.norm: [l1, l2]}", "different seeds"),
    ],
)
def test_sweeps_that_cannot_be_settled(sweep: str, text: str, tmp_path: Path):
    with pytest.raises(SpecError, match=text) as error:
        seeded(tmp_path, sweep)
    assert error.value.field == "--until-settled"


def test_seeds_within_points_can_not_be_added(tmp_path: Path):
    specs = seeded(tmp_path, "points: [{name: a, seed: 5}, {name: b, seed: 5, loss.norm: l1}]")
    assert specs.first == (5,)
    assert [specs.point(spec, 6).seed for spec in range(2)] == [6, 6]


def test_a_name_that_ends_like_a_seed_is_kept(tmp_path: Path):
    points = "points: [{name: a}, {name: a-seed_0, loss.norm: l1}]"
    assert seeded(tmp_path, points).names == ("a", "a-seed_0")


@pytest.mark.parametrize(
    ("text", "margin", "shown"),
    [
        ("10%", Margin(0.1, True), "±10 % of its mean"),
        (" 2.5 %", Margin(0.025, True), "±2.5 % of its mean"),
        ("100%", Margin(1.0, True), "±100 % of its mean"),
        ("0.5", Margin(0.5, False), "±0.5"),
        ("1e3", Margin(1000.0, False), "±1,000"),
    ],
)
def test_margins(text: str, margin: Margin, shown: str):
    assert Margin.parse(text) == margin
    assert settle_words.margin(SettleOptions(margin=margin).rule) == shown


@pytest.mark.parametrize(
    ("text", "value"), [("2h", 7200), ("30m", 1800), ("90s", 90), ("1.5h", 5400), ("1 d", 86400)]
)
def test_budgets(text: str, value: float):
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--margin", "0"), "--margin: '0'"),
        (("--margin", "-5%"), "--margin: '-5%'"),
        (("--margin", "101%"), "at most 100 %"),
        (("--margin", "nan"), "--margin: 'nan'"),
        (("--margin", "inf"), "--margin: 'inf'"),
        (("--margin", "a tenth"), "such as 10%"),
        (("--max-seeds", "1"), "--max-seeds: 1"),
        (("--max-seeds", "65"), "from 2 to 64"),
        (("--max-seeds", "2"), "less than the sweep's own 3 seeds"),
        (("--budget", "soon"), "such as 2h, 30m"),
        (("--budget", "0s"), "--budget: '0s'"),
        (("--budget", "2"), "--budget: '2'"),
        (("--budget", "9e999h"), "--budget"),
        (("--measure", "fd_cn"), "did you mean 'fd_cnn'?"),
        (("--measure", "precision_recall"), "--measure"),
        (("--print",), "--until-settled --print"),
        (("-s", "evaluate.metrics=[]"), "no metric to be settled by"),
        (("-s", "evaluate.metrics=[{name: fid, weights: /nowhere.pt}]"), "fid cannot be measured"),
        (("-s", "sweep={evaluate.samples: [8, 16]}"), "not be comparable: 16, not 8"),
        (("-s", "sweep={evaluate.metrics: [[fd_cnn], [pixel_fd]]}"), "does not measure fd_cnn"),
        (("-s", "sweep={dataset.limit: [100, 200]}"), "their data differ"),
        (("--measure", "val_loss"), "val_loss of tiny-seed_0-norm_l2"),
    ],
)
def test_wrong_requests_are_refused_before_anything_runs(
    ddpmx: Run, tmp_path: Path, arguments: tuple[str, ...], wanted: str
):
    metrics = "samples: 8, metrics: [fd_cnn, precision_recall]"
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("samples: 8", metrics) + f"sweep: {{seed: [0, 1, 2], {NORMS}}}\n")
    result = ddpmx("sweep", file, "--until-settled", "--out", tmp_path / "runs", *arguments)
    assert result.code == 2, result.out
    assert wanted in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "option", [("--margin", "10%"), ("--max-seeds", "8"), ("--budget", "1h"), ("--measure", "fd_cnn")]
)
def test_its_options_need_until_settled(ddpmx: Run, tiny: Path, option: tuple[str, str]):
    tiny.write_text(TINY + "sweep: {loss.norm: [l1, l2]}\n")
    result = ddpmx("sweep", tiny, *option)
    assert result.code == 2
    assert result.err == f"error: {option[0]}: is an option of --until-settled\n"
