"""The verdicts on claims about made-up scores: tests hold, fail, and are undecided where they should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ddpmx.claims.judge import judge_scores
from ddpmx.claims.points import Gap
from ddpmx.claims.scores import Scores, levels_of
from ddpmx.claims.trend import neighbours
from ddpmx.claims.verdict import Verdict
from ddpmx.spec.claims import TESTS, Claim
from ddpmx.theory.differences import Family
from ddpmx.theory.scores import Draws, SpecScores

NOISE = (-0.3, -0.1, 0.15, 0.25)
"""Of four seeds, in their order; other points have it in another order."""


def claim(**keys: Any) -> Claim:
    block = {"says": "so it is", "source": "a page", "measure": "fd_cnn", **keys}
    return TESTS[block["test"]].model_validate(block)


def table(
    means: dict[str, float],
    noise: Sequence[float] = NOISE,
    specs: dict[str, dict[str, object]] | None = None,
    **more: Any,
) -> Scores:
    """Points with these mean scores; `noise` is that of each point's seeds."""
    scores = [
        SpecScores(tuple(range(len(noise))), tuple((mean + np.roll(noise, shift)).tolist()))
        for shift, mean in enumerate(means.values())
    ]
    positions = {label: position for position, label in enumerate(means)}
    return Scores(specs or {label: {} for label in means}, Family(scores), positions, **more)


def verdict(scores: Scores, **keys: Any) -> Verdict:
    found = claim(**keys)
    assert found.test in ("better", "best", "equivalent", "trend")
    return judge_scores(found, scores)  # type: ignore[arg-type]


def by_field(means: dict[str, float], numbers: Sequence[float], **more: Any) -> Scores:
    specs: dict[str, dict[str, object]] = {
        label: {"schedule": {"timesteps": number}} for label, number in zip(means, numbers, strict=True)
    }
    return table(means, specs=specs, **more)


THREE = table({"a": 10.0, "b": 20.0, "c": 20.2})


@pytest.mark.parametrize(
    ("point", "than", "by", "wanted"),
    [
        ("a", "b", 1.0, "holds"),
        ("b", "a", 1.0, "fails"),
        ("b", "c", 1.0, "undecided"),
        ("a", "b", 1.8, "holds"),
        ("a", "b", 2.2, "fails"),
        ("a", "b", 2.0, "undecided"),
        ("b", "a", 0.4, "holds"),
    ],
)
def test_one_point_is_better_than_another_by_a_factor(point, than, by, wanted):
    found = verdict(THREE, test="better", point=point, than=than, by=by)
    assert (found.verdict, found.unit, found.seeds) == (wanted, "ratio", 4)
    assert found.value == pytest.approx(THREE.mean(than) / THREE.mean(point))
    assert found.low is not None
    assert found.high is not None
    assert (found.low > by, found.high < by) == (wanted == "holds", wanted == "fails")
    assert bool(found.needs) == (wanted == "undecided")


def test_higher_scores_may_be_better():
    scores = table({"a": 10.0, "b": 20.0}, lower_is_better=False)
    for point, than, by, wanted in (
        ("b", "a", 1.8, "holds"),
        ("b", "a", 2.2, "fails"),
        ("a", "b", 1, "fails"),
    ):
        found = verdict(scores, test="better", point=point, than=than, by=by)
        assert found.verdict == wanted
        assert found.value == pytest.approx(scores.mean(point) / scores.mean(than))
    assert verdict(scores, test="best", point="b").verdict == "holds"


def test_scores_that_are_not_positive_have_no_ratio():
    scores = table({"a": -10.0, "b": 2.0})
    found = verdict(scores, test="better", point="a", than="b")
    assert (found.verdict, found.unit) == ("holds", "difference")
    assert found.value == pytest.approx(12.0)
    factor = verdict(scores, test="better", point="a", than="b", by=2.0)
    assert factor.verdict == "undecided"
    assert "not positive" in factor.needs


@pytest.mark.parametrize(
    ("point", "wanted", "rival"), [("a", "holds", "b"), ("b", "fails", "a"), ("c", "fails", "a")]
)
def test_the_best_is_better_than_every_other(point, wanted, rival):
    found = verdict(THREE, test="best", point=point)
    assert found.verdict == wanted
    assert rival in found.note
    assert found.value == pytest.approx(THREE.mean(rival) / THREE.mean(point))


def test_without_a_winner_the_best_is_undecided():
    found = verdict(table({"a": 20.0, "b": 20.2, "c": 30.0}), test="best", point="a")
    assert (found.verdict, found.note) == ("undecided", "the closest rival is b")
    assert "a and b: a difference of" in found.needs
    assert "seeds a side" in found.needs


@pytest.mark.parametrize(
    ("to", "margin", "wanted"),
    [
        ("c", 2, "holds"),
        ("c", "10 %", "holds"),
        ("c", 0.3, "undecided"),
        ("a", 2, "fails"),
        ("a", "10%", "fails"),
        ("a", 10.2, "undecided"),
    ],
)
def test_points_are_equivalent_within_a_margin(to, margin, wanted):
    for point, other in (("b", to), (to, "b")):
        found = verdict(THREE, test="equivalent", point=point, to=other, margin=margin)
        assert found.verdict == wanted
        assert found.value == pytest.approx(THREE.mean(point) - THREE.mean(other))
        assert ("from the margin" in found.needs) == (wanted == "undecided")


def test_a_trend_is_a_slope_over_ranks():
    scores = by_field({"a": 30.0, "b": 20.0, "c": 10.0}, (100, 200, 1000))
    falls = verdict(scores, test="trend", field="schedule.timesteps", direction="falls")
    rises = verdict(scores, test="trend", field="schedule.timesteps", direction="rises")
    assert (falls.verdict, rises.verdict) == ("holds", "fails")
    assert falls.value == rises.value == pytest.approx(-10.0)
    flat = by_field({"a": 20.0, "b": 20.2, "c": 20.1}, (100, 200, 1000))
    undecided = verdict(flat, test="trend", field="schedule.timesteps", direction="rises")
    assert undecided.verdict == "undecided"
    assert "slope" in undecided.needs


def test_a_neighbour_that_goes_the_other_way_refutes_a_trend():
    scores = by_field({"a": 40.0, "b": 10.0, "c": 14.0}, (100, 200, 300))
    found = verdict(scores, test="trend", field="schedule.timesteps", direction="falls")
    assert found.high is not None
    assert found.high < 0  # the slope falls
    assert (found.verdict, found.note) == ("fails", "it rises by 4 from b to c")
    one_up = by_field({"a": 40.0, "b": 10.0, "c": 10.1}, (100, 200, 300))
    assert verdict(one_up, test="trend", field="schedule.timesteps", direction="falls").verdict == "holds"


def test_equal_values_share_a_rank_and_points_without_a_number_take_no_part():
    scores = by_field({"a": 30.0, "b": 32.0, "c": 10.0, "d": 1.0}, (100, 100, 200, "none"))
    found = verdict(scores, test="trend", field="schedule.timesteps", direction="falls")
    assert found.value == pytest.approx((10 - 31) / 1.5)


def test_neighbours_are_alike_but_for_the_field_and_what_changes_with_it():
    def spec(timesteps: int, steps: int, lr: float) -> dict[str, object]:
        return {"schedule": {"timesteps": timesteps}, "sampler": {"steps": steps}, "train": {"lr": lr}}

    specs = {
        f"{timesteps} {lr}": spec(timesteps, timesteps // 2, lr)
        for timesteps in (300, 100, 200)
        for lr in (1e-3, 1e-4)
    }
    values = {label: float(label.split()[0]) for label in specs}
    assert sorted(neighbours(specs, values, "schedule.timesteps")) == sorted(
        (f"{low} {lr}", f"{high} {lr}") for low, high in ((100, 200), (200, 300)) for lr in (1e-3, 1e-4)
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"test": "better", "point": "a", "than": "b"},
        {"test": "better", "point": "a", "than": "b", "by": 1.5},
        {"test": "best", "point": "a"},
        {"test": "equivalent", "point": "a", "to": "b", "margin": 5},
        {"test": "trend", "field": "schedule.timesteps", "direction": "rises"},
    ],
)
def test_one_seed_decides_nothing_and_more_are_needed(keys):
    scores = by_field({"a": 10.0, "b": 20.0}, (100, 200), noise=(0.0,))
    found = verdict(scores, **keys)
    assert (found.verdict, found.low, found.high, found.seeds) == ("undecided", None, None, 1)
    assert found.needs == "a second seed of a and b is needed"


@pytest.mark.parametrize(
    "keys",
    [
        {"test": "better", "point": "a", "than": "z"},
        {"test": "best", "point": "a"},
        {"test": "equivalent", "point": "z", "to": "b", "margin": 5},
        {"test": "trend", "field": "schedule.timesteps", "direction": "rises"},
    ],
)
def test_a_point_without_scores_leaves_claims_undecided(keys):
    full = by_field({"a": 10.0, "b": 20.0}, (100, 200))
    specs = {**full.specs, "z": {"schedule": {"timesteps": 300}}}
    gaps = {"z": (Gap(4, 4, "are not finished"),)}
    found = verdict(Scores(specs, full.family, full.positions, gaps=gaps), **keys)
    assert (found.verdict, found.seeds, found.needs) == (
        "undecided",
        0,
        "4 of 4 seeds of z are not finished",
    )


def test_a_point_without_scores_cannot_save_a_claim_that_fails():
    full = by_field({"a": 10.0, "b": 20.0}, (100, 200))
    specs = {**full.specs, "z": {"schedule": {"timesteps": 300}}}
    scores = Scores(specs, full.family, full.positions, gaps={"z": (Gap(4, 4, "are not finished"),)})
    assert verdict(scores, test="best", point="b").verdict == "fails"
    assert verdict(scores, test="trend", field="schedule.timesteps", direction="falls").verdict == "fails"


def test_missing_seeds_are_named_beside_a_verdict():
    gaps = dict.fromkeys("bc", (Gap(1, 5, "is not finished"),))
    scores = table({"a": 10.0, "b": 20.0, "c": 30.0}, gaps=gaps)
    found = verdict(scores, test="better", point="a", than="b")
    assert (found.verdict, found.needs) == ("holds", "1 of 5 seeds of b is not finished")
    best = verdict(scores, test="best", point="a")
    assert (best.verdict, best.needs) == ("holds", "1 of 5 seeds each of b and c is not finished")


def test_levels_are_shared_by_measures_and_then_by_items():
    better = {"test": "better", "point": "a", "than": "b"}
    pairs = [claim(**better), claim(test="best", point="a"), claim(**better, measure="kid")]
    assert {name: level.pairs for name, level in levels_of(pairs[:2]).items()} == {"fd_cnn": 0.05}
    more = [
        *pairs,
        claim(**better, by=2.0),
        claim(test="trend", field="seed", direction="falls"),
        claim(test="unstable", point="a"),
        claim(test="equals", point="a", value=0, within=1, measure="prior_bits"),
    ]
    levels = levels_of(more)
    assert {name: level.pairs for name, level in levels.items()} == pytest.approx(
        {"fd_cnn": 0.05 / 2 / 3, "kid": 0.05 / 2}
    )
    assert levels["fd_cnn"].contrast == levels["fd_cnn"].pairs


def test_ratios_agree_with_verdicts_on_random_scores():
    generator = np.random.default_rng(0)
    verdicts = set[str]()
    for _ in range(80):
        means = generator.uniform(0.2, 4, size=2)
        specs = [
            SpecScores(
                tuple(range(4)),
                tuple((mean + generator.normal(size=4) * generator.choice([0.1, 1.0])).tolist()),
                Draws("halves", generator.normal(size=(1, 20)) * 0.2),
            )
            for mean in means
        ]
        scores = Scores({"a": {}, "b": {}}, Family(specs), {"a": 0, "b": 1})
        by = float(generator.choice([0.5, 1.0, 2.0]))
        found = verdict(scores, test="better", point="a", than="b", by=by)
        if found.unit == "ratio":
            assert (found.verdict == "holds") == (found.low is not None and found.low > by)
            assert (found.verdict == "fails") == (found.high is not None and found.high < by)
            verdicts.add(found.verdict)
    assert verdicts == {"holds", "fails", "undecided"}


def test_verdicts_as_json_name_the_claim():
    found = verdict(THREE, test="better", point="a", than="b").to_json()
    assert found["says"] == "so it is"
    assert found["about"] == {"point": "a", "than": "b", "by": 1.0}
    assert (found["test"], found["verdict"], found["published"], found["seeds"]) == (
        "better",
        "holds",
        None,
        4,
    )
