"""A group's scores in the form that differences are computed from: a value per seed, and its draws."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from ..storage import draws
from ..theory.estimate import mean_of_repeats
from ..theory.scores import Draws, SpecScores
from .results import Run


def scores_of(runs: Sequence[Run], measure: str, aligned_seed: int | None) -> SpecScores:
    """The scores of one spec's runs on a measure that all of them have.

    The draws of runs that were measured from another starting noise than `aligned_seed` (None: any) are left
    out, since their columns do not belong together with those of other specs.
    """
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    estimates = [
        mean_of_repeats([run.results[measure].estimate for run in same]) for same in by_seed.values()
    ]
    variances = [sum(part.variance for part in each.variances) for each in estimates if each.interval]
    return SpecScores(
        tuple(by_seed),
        tuple(each.value for each in estimates),
        _draws([same[0] for same in by_seed.values()], measure, aligned_seed),
        fmean(variances) if variances else None,
        pooled=not any(run.was_unstable for run in runs),
    )


def starting_seed(run: Run, measure: str) -> int:
    """The seed of the noise that the measure was taken from."""
    score = run.results[measure].score
    return run.spec["evaluate"]["seed"] if score is None else score["seed"]


def _draws(runs: Sequence[Run], measure: str, aligned_seed: int | None) -> Draws | None:
    """The draws of the seeds that have them, if they are of one kind; None if no seed has any."""
    found: list[draws.Draws] = []
    for run in runs:
        if aligned_seed not in (None, starting_seed(run, measure)):
            return None
        result = run.results[measure]
        stored = draws.read_score(run.path, result.draws, measure, result.step)
        if stored is not None:
            found.append(stored)
    if not found or len({(one.kind, one.of, len(one.values)) for one in found}) > 1:
        return None
    return Draws(found[0].kind, np.stack([one.values for one in found]), found[0].of)
