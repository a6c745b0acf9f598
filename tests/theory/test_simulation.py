"""The coverage of differences in simulated families, and that the simulation applies the rule to data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ddpmx.theory.differences import Family

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REPETITIONS = 2000


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


EQUAL, WIDE = (1.0, 1.0, 1.0, 1.0), (5.0, 1.0, 1.0, 1.0)
CELLS = {
    "equal spreads": {"counts": (3, 3, 3, 3), "spreads": EQUAL},
    "one wide": {"counts": (3, 3, 3, 3), "spreads": WIDE},
    "two seeds, no images' noise": {"counts": (2, 2, 2, 2), "spreads": WIDE, "images": 0.0},
    "two specs": {"counts": (5, 5), "spreads": (1.0, 5.0), "correlation": 0.95},
    "images dominate": {"counts": (8, 8, 8, 8), "spreads": EQUAL, "images": 5.0, "correlation": 0.0},
    "images of each seed": {"counts": (3, 3, 3, 3), "spreads": EQUAL, "shared": False},
    "unequal numbers": {"counts": (2, 2, 8, 8), "spreads": WIDE},
    "single networks": {"counts": (1, 1, 1, 1), "spreads": EQUAL},
    "some single": {"counts": (1, 3, 3, 3), "spreads": EQUAL},
    "heavy tails": {"counts": (3, 3, 3, 3), "spreads": WIDE, "tails": "t3"},
    "lognormal": {"counts": (3, 3, 3, 3), "spreads": WIDE, "tails": "lognormal"},
    "scores 1 : 4": {"counts": (3, 3), "spreads": (1.0, 5.0), "means": (10.0, 40.0)},
    "common to all specs": {"counts": (8, 8, 8, 8), "spreads": EQUAL, "common": 0.5, "images": 0.2},
}


@pytest.mark.parametrize("name", CELLS)
def test_the_intervals_hold_together(name: str):
    from simulated_scores import Cell, compared, simulate

    cell = Cell(**CELLS[name])
    found = compared(cell, simulate(cell, REPETITIONS, np.random.default_rng(0)))
    noise = 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
    assert found.coverage > 0.945 - noise
    assert found.no_false_winner > 0.945 - noise


def test_the_earlier_rule_would_fail_that_test():
    from simulated_scores import Cell, compared_before, simulate

    cell = Cell((3,) * 12, (1.0,) * 12, correlation=0.0, images=0.0)
    found = compared_before(cell, simulate(cell, REPETITIONS, np.random.default_rng(0)))
    assert found.coverage < 0.945 - 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)


@pytest.mark.parametrize("name", CELLS)
def test_the_simulation_applies_the_rule_to_data(name: str):
    from simulated_scores import Cell, compared, scores_of, simulate

    cell = Cell(**CELLS[name])
    data = simulate(cell, 4, np.random.default_rng(1))
    found = compared(cell, data)
    for repetition in range(4):
        family = Family(scores_of(cell, data, repetition))
        halves = [difference.half for difference in family.differences.values()]
        assert halves == pytest.approx(found.halves[repetition].tolist(), rel=1e-6, abs=1e-9)
