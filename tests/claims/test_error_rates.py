"""How often verdicts on claims about simulated scores are wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOST = 0.055


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_few_verdicts_on_equal_specs_are_wrong():
    from simulated_claims import of_equal_specs
    from simulated_scores import Cell

    tables = 60
    found = of_equal_specs(Cell((3, 3, 3), (5.0, 1.0, 1.0)), tables)
    assert max(found.pairs, found.trend, found.any) <= MOST + 3 * math.sqrt(MOST * (1 - MOST) / tables)


def test_the_simulation_counts_verdicts_that_are_wrong():
    from simulated_claims import of_equal_specs
    from simulated_scores import Cell

    found = of_equal_specs(Cell((3, 3, 3), (1.0, 1.0, 1.0), means=(30.0, 60.0, 90.0)), 5)
    assert (found.pairs, found.trend, found.any) == (1.0, 1.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("row", [2, 6, 9])
def test_at_most_one_in_twenty_files_about_equal_specs_has_a_wrong_verdict(row: int):
    from simulate_claims import EQUAL
    from simulate_differences import spreads
    from simulated_claims import of_equal_specs
    from simulated_scores import Cell

    specs, seeds, name, more = EQUAL[row]
    found = of_equal_specs(Cell((seeds,) * specs, spreads(name, specs), **more), 10_000)
    assert max(found.pairs, found.trend, found.any) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("row", range(7))
def test_a_difference_beyond_the_margin_is_rarely_called_equivalent(row: int):
    from simulate_claims import BEYOND
    from simulated_claims import equivalent_beyond_the_margin

    each = BEYOND[row]
    assert equivalent_beyond_the_margin(each.cell, each.margin, 10_000) <= MOST
