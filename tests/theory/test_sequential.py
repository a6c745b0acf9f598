"""Verdicts that add seeds: what is settled, what stays open, and who needs another seed."""

from __future__ import annotations

import numpy as np
import pytest

from ddpmx.theory.scores import SpecScores
from ddpmx.theory.sequential import Settling

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
