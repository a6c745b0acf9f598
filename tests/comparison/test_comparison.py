"""`compare` says how specs differ and which is better, unless noise or a different measurement forbids it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from made_runs import make_run, score

from ddpmx.comparison.comparison import Comparison, compare
from ddpmx.comparison.sorting import sort
from ddpmx.comparison.words import summary
from ddpmx.components.registry import METRICS
from ddpmx.errors import SpecError
from ddpmx.storage.folder import RunFolder
from ddpmx.theory.estimate import Estimate, mean_over_seeds


def made(tmp_path: Path, seeds: int, **values: tuple[float, float | None]) -> list[Path]:
    """Runs of a spec for each name=(mean fd_cnn, half the width of its interval); seeds differ by 0.02."""
    return [
        make_run(
            tmp_path,
            f"name={name}",
            f"train.lr={1e-4 * (i + 1)}",
            f"seed={seed}",
            scores={"fd_cnn": score(value + 0.02 * (seed - (seeds - 1) / 2), half)},
        )
        for i, (name, (value, half)) in enumerate(values.items())
        for seed in range(seeds)
    ]


def compared(tmp_path: Path, seeds: int = 2, **values: tuple[float, float | None]) -> Comparison:
    """A comparison of `made` runs."""
    return compare(made(tmp_path, seeds, **values))


def ranks(comparison: Comparison, measure: str = "fd_cnn") -> dict[str, int | None]:
    return {group.label: group.standings[measure].rank for group in comparison.groups}


def test_seeds_of_one_spec_are_one_group(tmp_path: Path):
    values = [4.0, 4.5, 4.2]
    runs = [
        make_run(tmp_path, f"seed={seed}", f"name=s{seed}", scores={"fd_cnn": score(value)})
        for seed, value in enumerate(values)
    ]
    runs.append(make_run(tmp_path, "loss.norm=l1", scores={"fd_cnn": score(9.0)}))
    comparison = compare(runs)
    first, second = comparison.groups
    assert [len(group.runs) for group in comparison.groups] == [3, 1]
    assert comparison.fields == ("loss.norm",)
    assert (first.label, second.label) == ("norm=l2", "tiny")
    wanted = mean_over_seeds([Estimate(value, (value - 0.1, value + 0.1)) for value in values])
    assert first.standings["fd_cnn"].estimate.value == pytest.approx(wanted.value)
    assert first.standings["fd_cnn"].estimate.interval == pytest.approx(wanted.interval)
    assert first.standings["fd_cnn"].seeds == 3


def test_the_seeds_of_a_sweep_point_have_the_points_name(tmp_path: Path):
    made = [
        make_run(tmp_path, f"name=s-{norm}-seed_{seed}", f"seed={seed}", f"loss.norm={norm}")
        for norm in ("l1", "l2")
        for seed in (0, 1)
    ]
    assert [group.label for group in compare(made).groups] == ["l1", "l2"]
    assert [group.label for group in compare(made[:2]).groups] == ["s-l1"]


def test_runs_of_one_seed_are_repeats_and_not_samples(tmp_path: Path):
    """Two equal runs must not look like a standard deviation of 0."""
    runs = [make_run(tmp_path, scores={"fd_cnn": score(4.0, 0.3)}) for _ in range(2)]
    (group,) = compare(runs).groups
    standing = group.standings["fd_cnn"]
    assert (standing.estimate.value, standing.estimate.interval, standing.seeds) == (
        4.0,
        pytest.approx((3.7, 4.3)),
        1,
    )


def test_specs_within_noise_share_a_rank(tmp_path: Path):
    """Neither a and b differ nor b and c, but a and c do: nobody beats b, only a beats c."""
    assert ranks(compared(tmp_path, a=(4.0, 0.5), b=(4.6, 0.5), c=(5.2, 0.5), d=(9.0, 0.5))) == {
        "a": 1,
        "b": 1,
        "c": 2,
        "d": 4,
    }


@pytest.mark.parametrize(("half", "apart"), [(2.0, False), (0.1, True)])
def test_seeds_that_agree_are_no_more_certain_than_their_scores(tmp_path: Path, half: float, apart: bool):
    """Student's t gives ± 0.13 for the mean of 4.00 and 4.02, but each has ± half, from shared noise."""
    comparison = compared(tmp_path, a=(4.01, half), b=(6.51, half))
    assert ranks(comparison) == {"a": 1, "b": 2 if apart else 1}
    assert comparison.groups[0].standings["fd_cnn"].estimate.interval[1] > 4.01 + half


def test_higher_can_be_better(tmp_path: Path):
    runs = [
        make_run(
            tmp_path,
            f"name={name}",
            f"loss.norm={norm}",
            f"seed={seed}",
            scores={"is_cnn": score(value + seed / 50, better="higher")},
        )
        for name, norm, value in (("a", "l1", 5.0), ("b", "l2", 8.0))
        for seed in (0, 1)
    ]
    comparison = compare(runs)
    assert ranks(comparison, "is_cnn") == {"a": 2, "b": 1}
    assert comparison.standings("is_cnn")[0][0].label == "b"
    assert comparison.groups[1].standings["is_cnn"].won
    assert "b is best" in summary(comparison)[0]


def test_within_noise_there_is_no_winner(tmp_path: Path):
    comparison = compared(tmp_path, a=(4.0, 0.5), b=(4.1, 0.5), c=(9.0, 0.5))
    assert not any(group.standings["fd_cnn"].won for group in comparison.groups)
    said = next(line for line in summary(comparison) if line.startswith("fd_cnn"))
    start = (
        "fd_cnn: no winner: a is lowest, 4.00 ± 0.50, but b is within noise of it; a and b: a difference of "
    )
    assert said.startswith(start)
    assert "would have been shown (80 % power)" in said
    assert "would show the 0.1 seen" in said
    assert re.search(r"; c is worse by more than noise \(by 5\.\d+ ± 0\.\d+\)\.$", said)


def test_beyond_noise_there_is_a_winner(tmp_path: Path):
    comparison = compared(tmp_path, a=(5.0, 0.1), b=(4.0, 0.1))
    assert [group.standings["fd_cnn"].won for group in comparison.groups] == [False, True]
    (said,) = (line for line in summary(comparison) if line.startswith("fd_cnn"))
    assert re.fullmatch(
        r"fd_cnn: b is best, 4\.00 ± 0\.\d+; a is worse by more than noise \(by 1\.\d+ ± 0\.\d+\)\.", said
    )
    assert not any("one seed" in line for line in summary(comparison))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": 500}, "n 500, not 1,000"),
        ({"extractor": "beef"}, "different extractor"),
        ({"split": "train"}, "split train, not test"),
        ({"preprocessing": "resized"}, "different preprocessing"),
    ],
)
def test_scores_that_are_measured_differently_are_not_ranked(
    tmp_path: Path, change: dict[str, object], why: str
):
    runs = made(tmp_path, 2, a=(5.0, 0.1), b=(5.0, 0.1))
    runs += [
        make_run(tmp_path, "name=odd", f"seed={seed}", scores={"fd_cnn": score(1.0, **change)})
        for seed in (0, 1)
    ]
    comparison = compare(runs)
    assert ranks(comparison) == {"a": 1, "b": 1, "odd": None}
    odd = comparison.groups[2].standings["fd_cnn"]
    assert (odd.mark, odd.delta) == (why, None)
    assert f"odd is not ranked ({why})" in summary(comparison)[0]


def test_losses_of_another_objective_are_not_compared(tmp_path: Path):
    runs = [
        make_run(
            tmp_path, f"name={norm}-{seed}", f"loss.norm={norm}", f"seed={seed}", val_loss=value + seed / 100
        )
        for norm, value in (("l1", 0.3), ("l2", 0.1))
        for seed in (0, 1)
    ]
    comparison = compare(runs)
    assert list(ranks(comparison, "val_loss").values()) == [None, None]
    assert comparison.groups[1].standings["val_loss"].mark == "different loss"
    assert comparison.groups[1].standings["val_loss"].delta is None


def test_a_run_without_scores_has_no_interval_and_no_rank(tmp_path: Path):
    """Runs of early versions recorded no details of a score; the sample count is then the spec's."""
    comparison = compared(tmp_path, a=(4.0, 0.1), b=(5.0, 0.1))
    old = make_run(tmp_path, "name=old", scores={"fd_cnn": score(1.0)})
    lines = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
    (old / "metrics.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k != "scores"}) + "\n" for line in lines)
    )
    standing = compare([old]).groups[0].standings["fd_cnn"]
    assert standing.estimate == Estimate(1.0)
    assert standing.condition["n"] == 8
    both = compare([*(run.path for group in comparison.groups for run in group.runs), old])
    assert (
        both.groups[2].standings["fd_cnn"].mark
        == "n 8, not 1,000; split not recorded; extractor not recorded; preprocessing not recorded"
    )


def test_an_unfinished_run_is_shown_with_its_status_and_not_ranked(
    tmp_path: Path, ddpmx: Callable[..., Result]
):
    late = make_run(tmp_path, "name=late", scores={"fd_cnn": score(1.0)}, status="running")
    runs = [*made(tmp_path, 2, a=(4.0, 0.1), b=(5.0, 0.1)), late]
    assert ranks(compare(runs)) == {"a": 1, "b": 2, "late": None}
    assert re.search(r"^late +running ", ddpmx("compare", *runs).out, re.MULTILINE)


def measured(run: Path, value: float, n: int = 10, **settings: object) -> None:
    """Add an `evaluate` event, as `ddpmx evaluate` does."""
    event = {"event": "evaluate", "epoch": 2, "step": 20, "samples": n, **settings}
    scores = {"fd_cnn": score(value, n=n)}
    RunFolder(run).add_event({**event, "metrics": {"fd_cnn": value}, "scores": scores})


def test_the_last_measurement_of_the_own_spec_counts_and_the_lowest_validation_loss(tmp_path: Path):
    run = make_run(tmp_path, scores={"fd_cnn": score(5.0)}, val_loss=0.2)
    own = RunFolder(run).spec_data()["evaluate"]
    measured(run, 4.0, own["samples"], sampler=own["sampler"])
    measured(run, 3.0, n=10_000)
    measured(run, 2.0, own["samples"], sampler={**own["sampler"], "steps": 77})
    measured(run, 1.0, own["samples"], weights={"checkpoint": "best", "ema_std": 0})
    (read,) = compare([run]).groups[0].runs
    results = read.results
    assert results["fd_cnn"].estimate.value == 4.0
    assert results["fd_cnn"].condition["n"] == own["samples"]
    assert [(other.value, dict(other.changes)) for other in read.others] == [
        (3.0, {"evaluate.samples": 10_000}),
        (2.0, {"evaluate.sampler.steps": 77}),
        (1.0, {"weights.ema_std": 0}),
    ]
    assert (results["val_loss"].estimate.value, results["val_loss"].epoch) == (0.2, 2)


def test_a_loss_that_is_not_finite_is_no_result(tmp_path: Path):
    run = make_run(tmp_path, val_loss=math.nan)
    assert compare([run]).measures == ()


def test_differences_are_taken_to_the_baseline(tmp_path: Path):
    """Of two networks without draws, intervals add like the legs of a right triangle: √(0.3² + 0.4²)."""
    paths = made(tmp_path, 1, a=(4.0, 0.3), b=(6.0, 0.4))
    first, second = compare(paths).groups
    assert first.standings["fd_cnn"].delta is None
    delta = second.standings["fd_cnn"].delta
    assert delta is not None
    assert (delta.value, delta.interval) == (2.0, pytest.approx((1.5, 2.5), abs=0.01))
    other = compare(paths, baseline=paths[1])
    assert other.baseline.label == "b"
    back = other.groups[0].standings["fd_cnn"].delta
    assert back is not None
    assert (back.value, back.interval) == (-2.0, pytest.approx((-2.5, -1.5), abs=0.01))


def test_sorting(tmp_path: Path):
    comparison = compared(tmp_path, b=(5.0, 0.1), a=(4.0, 0.1), c=(6.0, 0.1))

    def order(key: str | None) -> str:
        return "".join(group.label for group in sort(comparison, key))

    assert (order(None), order("fd_cnn"), order("name"), order("train.lr")) == ("bac", "abc", "abc", "bac")
    with pytest.raises(SpecError, match=r"--sort.*did you mean 'fd_cnn'"):
        sort(comparison, "fd_cn")


def test_a_folder_of_runs_stands_for_all_inside(tmp_path: Path):
    made = [
        make_run(tmp_path / "runs", f"name={name}", f"train.lr={lr}")
        for name, lr in (("a", 1e-4), ("b", 2e-4))
    ]
    again = make_run(tmp_path / "runs", "name=b", "train.lr=2e-4", "seed=1")
    assert [[run.path for run in group.runs] for group in compare([tmp_path / "runs"]).groups] == [
        [made[0]],
        [made[1], again],
    ]
    assert [len(group.runs) for group in compare([tmp_path / "runs" / "b", made[1]]).groups] == [2]


def test_scores_of_other_parameters_are_not_ranked_together(tmp_path: Path):
    def runs(name: str, k: int, value: float) -> list[Path]:
        lr = f"train.lr={value / 1000}"
        block = {"name": "precision_recall", "k": k, "reference": "test"}
        scores = {"precision_recall.recall": score(value, better="higher", metric=block)}
        return [make_run(tmp_path, f"name={name}", lr, f"seed={seed}", scores=scores) for seed in range(2)]

    comparison = compare([*runs("a", 3, 0.5), *runs("b", 3, 0.6), *runs("c", 5, 0.9)])
    assert ranks(comparison, "precision_recall.recall") == {"a": 1, "b": 1, "c": None}
    assert comparison.groups[2].standings["precision_recall.recall"].mark == "parameter k 5, not 3"


def test_parameters_of_a_score_without_a_block_are_the_specs(tmp_path: Path):
    """Runs of earlier versions did not record a score's block."""
    metrics = "evaluate.metrics=[{name: precision_recall, k: %d, reference: test}]"
    name = "precision_recall.precision"
    old, new, other = (
        make_run(tmp_path, f"name={label}", f"train.lr={lr}", metrics % k, scores={name: score(0.5, **block)})
        for label, lr, k, block in (
            ("old", 1e-4, 3, {}),
            ("new", 2e-4, 3, {"metric": METRICS.build("precision_recall", k=3, reference="test").spec()}),
            ("other", 3e-4, 5, {}),
        )
    )
    marks = [group.standings[name].mark for group in compare([old, new, other]).groups]
    assert marks[2] == "parameter k 5, not 3"
    assert not any("parameter" in mark for mark in marks[:2])


def test_different_facts_are_said_and_do_not_forbid_a_ranking(tmp_path: Path, ddpmx: Callable[..., Result]):
    runs = [
        make_run(
            tmp_path,
            f"name={name}",
            f"seed={seed}",
            f"train.lr={value / 1000}",
            scores={"fd_cnn": score(value, facts={"training images": count})},
        )
        for name, value, count in (("few", 4.0, 16), ("many", 5.0, 1437), ("also", 6.0, 1437))
        for seed in range(2)
    ]
    comparison = compare(runs)
    assert ranks(comparison) == {"few": 1, "many": 2, "also": 3}
    said = "fd_cnn was measured with different training images: 16 for few; 1,437 for many and also."
    assert said in summary(comparison)
    assert said in ddpmx("compare", *runs).out.replace("\n", " ")
    assert not any("training images" in line for line in summary(compare(runs[2:])))
