"""Verdicts that add seeds: what is settled, what stays open, and who needs another seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddpmx.theory import sequential
from ddpmx.theory.boundaries import look_factors
from ddpmx.theory.scores import SpecScores
from ddpmx.theory.sequential import Settling

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NOISE = np.random.default_rng(0).normal(size=(4, 16))


def specs(means: list[float], seeds: int, spread: float = 0.1) -> list[SpecScores]:
    return [
        SpecScores(tuple(range(seeds)), tuple(mean + spread * noise[:seeds]))
        for mean, noise in zip(means, NOISE, strict=False)
    ]


def test_far_specs_differ_and_equal_ones_are_equivalent():
    rule = Settling(margin=0.1)
    verdicts = rule.look(specs([10.0, 10.0, 20.0], seeds=12))
    assert verdicts == {(0, 1): "equivalent", (0, 2): "differs", (1, 2): "differs"}
    assert rule.next(specs([10.0, 10.0, 20.0], seeds=12), verdicts) == ()


def test_only_specs_of_open_pairs_need_seeds():
    rule = Settling(margin=0.001)
    data = specs([10.0, 10.0, 20.0], seeds=3)
    verdicts = rule.look(data)
    assert verdicts[0, 1] == "open"
    assert verdicts[0, 2] == "differs"
    assert rule.next(data, verdicts) == (0, 1)


def test_a_settled_pair_stays_settled():
    verdicts = Settling(margin=0.1).look(specs([10.0, 20.0], seeds=5), {(0, 1): "equivalent"})
    assert verdicts == {(0, 1): "equivalent"}


def test_single_seeds_are_open_and_come_first():
    rule = Settling(margin=0.1)
    data = [*specs([10.0, 10.0], seeds=3), SpecScores((0,), (10.0,))]
    verdicts = rule.look(data)
    assert verdicts[0, 2] == verdicts[1, 2] == "open"
    assert rule.next(data, verdicts) == (2,)


def test_no_spec_gets_more_than_max_seeds():
    rule = Settling(margin=0.0, max_seeds=4)
    data = specs([10.0, 10.0], seeds=4)
    assert rule.next(data, {(0, 1): "open"}) == ()
    with pytest.raises(ValueError, match="2 seeds"):
        Settling(margin=0.1, max_seeds=1)


def test_an_absolute_margin():
    data = specs([10.0, 10.0], seeds=12)
    assert Settling(0.5, relative=False).look(data) == {(0, 1): "equivalent"}
    assert Settling(0.01, relative=False).look(data) == {(0, 1): "open"}


def shares(gap: float, margin: float, repetitions: int = 400) -> dict[str, float]:
    """How often two simulated specs get each verdict in the end."""
    from simulated_settling import Situation, settle

    generator, rule = np.random.default_rng(1), Settling(margin, max_seeds=8, relative=False)
    situation = Situation("", (0.0, gap), margin)
    found = [settle(situation, rule, generator)[0][0, 1] for _ in range(repetitions)]
    return {verdict: found.count(verdict) / repetitions for verdict in ("differs", "equivalent", "open")}


def test_looks_do_not_add_errors(monkeypatch: pytest.MonkeyPatch):
    """Of 400 repetitions, 5 % are 8.3 % at most (three standard deviations); without factors it is more."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert shares(gap=0.0, margin=0.5)["differs"] < 0.083
    assert shares(gap=2.0, margin=2.0)["equivalent"] < 0.083
    assert shares(gap=6.0, margin=0.5)["differs"] > 0.95
    monkeypatch.setattr(sequential, "look_factors", lambda specs, most, alpha: (1.0,) * (most + 1))
    assert shares(gap=0.0, margin=0.5)["differs"] > 0.083


def test_the_factors_fall_and_stay_above_1():
    factors = look_factors(2, 10, 0.05)[2:]
    assert all(factor > 1 for factor in factors)
    assert factors[0] > 1.5 * factors[-1]
