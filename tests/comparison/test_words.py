"""What a comparison says about one seed a side, and what would tell where there is no winner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import add_measurement, make_run, score

from ddpmx.comparison.comparison import Comparison, compare
from ddpmx.comparison.words import summary

ONE_SEED = "With one seed on either side, a difference is about these two trained networks"


def compared(tmp_path: Path, seeds: int, values: dict[str, float], spread: float = 0.02) -> Comparison:
    """Specs by norm with mean scores; every measurement has 200 halves that vary by 0.1 independently."""
    runs = []
    for index, (norm, value) in enumerate(values.items()):
        for seed in range(seeds):
            run = make_run(tmp_path, f"loss.norm={norm}", f"name={norm}", f"seed={seed}")
            draws = np.random.default_rng([index, seed]).normal(0, 0.1, 200)
            add_measurement(run, value + spread * (seed - (seeds - 1) / 2), draws)
            runs.append(run)
    return compare(runs)


def said(comparison: Comparison) -> str:
    (line,) = (line for line in summary(comparison) if line.startswith("fd_cnn"))
    return line


def test_single_seeds_far_apart_are_networks_and_no_specs(tmp_path: Path) -> None:
    comparison = compared(tmp_path, 1, {"l1": 4.0, "l2": 9.0})
    for group in comparison.groups:
        standing = group.standings["fd_cnn"]
        assert (standing.rank, standing.won, standing.mark) == (None, False, "one seed")
    assert said(comparison).startswith("fd_cnn: of these trained networks, l1 is best, ")
    assert said(comparison).endswith("l1 and l2 are not ranked as specs (one seed).")
    assert any(line.startswith(ONE_SEED) for line in summary(comparison))
    assert "another training seed might reverse it" in " ".join(summary(comparison))


def test_single_seeds_close_together_are_told_what_would_tell(tmp_path: Path) -> None:
    line = said(compared(tmp_path, 1, {"l1": 4.0, "l2": 4.1}))
    assert "of these trained networks, no winner: l1 is lowest" in line
    assert "l2 is within noise of it" in line
    assert "between these two trained networks would have been shown (80 % power)" in line
    assert "times the images would show the 0.1 seen" in line or "times the images, would show" in line


def test_two_specs_with_two_seeds_are_ranked_beside_one_with_one_seed(tmp_path: Path) -> None:
    both = compared(tmp_path / "a", 2, {"l1": 4.0, "l2": 9.0})
    single = compared(tmp_path / "b", 1, {"huber": 1.0})
    comparison = compare([run.path for each in (both, single) for group in each.groups for run in group.runs])
    ranks = {group.label: group.standings["fd_cnn"].rank for group in comparison.groups}
    assert ranks == {"l1": 1, "l2": 2, "huber": None}
    line = said(comparison)
    assert line.startswith("fd_cnn: l1 is best, ")
    assert "huber is not ranked as specs (one seed)" in line


def test_no_winner_among_specs_says_how_many_seeds_would_tell(tmp_path: Path) -> None:
    line = said(compared(tmp_path, 3, {"l1": 4.0, "l2": 4.5}, spread=0.8))
    assert line.startswith("fd_cnn: no winner: l1 is lowest")
    assert "would have been shown (80 % power)" in line
    assert "seeds a side" in line
    assert line.endswith("would show the 0.5 seen.")


def test_with_two_seeds_a_side_nothing_is_said_about_single_networks(tmp_path: Path) -> None:
    comparison = compared(tmp_path, 2, {"l1": 4.0, "l2": 9.0})
    assert not any("trained networks" in line for line in summary(comparison))


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_spec_alone_is_not_ranked(tmp_path: Path, seeds: int) -> None:
    runs = [make_run(tmp_path, f"seed={seed}", scores={"fd_cnn": score(4.0)}) for seed in range(seeds)]
    comparison = compare(runs)
    standing = comparison.groups[0].standings["fd_cnn"]
    assert (standing.rank, standing.mark) == (None, "")
    assert said(comparison).startswith("fd_cnn: only tiny has it, 4")
