"""Claims about simulated scores, judged as those of a sweep are: how often a verdict is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from simulated_scores import Cell, scores_of, simulate

from ddpmx.claims.judge import judge_scores
from ddpmx.claims.scores import Levels, Scores, levels_of
from ddpmx.spec.claims import TESTS, Best, Better, Equivalent, Trend
from ddpmx.theory.differences import Family
from ddpmx.theory.scores import SpecScores

Judged = Better | Best | Equivalent | Trend
FIELD = "schedule.timesteps"
MEASURES = ("fd_cnn", "is_cnn")


@dataclass(frozen=True)
class Rates:
    """In what share of score tables of equal specs something is found."""

    pairs: float
    """Some pair is called different."""
    trend: float
    """A trend holds or fails."""
    any: float
    """Any verdict of a file with claims of all kinds on two measures is wrong."""


def claim(test: str, measure: str = MEASURES[0], **keys: object) -> Judged:
    """A claim with this test."""
    return TESTS[test].model_validate({"says": "-", "source": "-", "test": test, "measure": measure, **keys})


def pair_claims(specs: int) -> list[Judged]:
    """That each spec is better than each later one."""
    return [claim("better", point=str(i), than=str(k)) for i, k in combinations(range(specs), 2)]


def claims_of_a_file(specs: int) -> list[Judged]:
    """Ten claims on two measures, of which only those of equivalence, and of a small factor, can be right."""
    last = str(specs - 1)
    return [
        each
        for measure in MEASURES
        for each in (
            claim("better", measure, point="0", than=last),
            claim("better", measure, point="1", than="0", by=1.0001),
            claim("best", measure, point="0"),
            claim("equivalent", measure, point="0", to="1", margin="20 %"),
            claim("trend", measure, field=FIELD, direction="falls"),
        )
    ]


def table(specs: Sequence[SpecScores], levels: Levels) -> Scores:
    """The scores of points named 0, 1, …, whose field grows."""
    labels = [str(position) for position in range(len(specs))]
    points = {label: {"schedule": {"timesteps": 100 * (int(label) + 1)}} for label in labels}
    positions = {label: position for position, label in enumerate(labels)}
    return Scores(points, Family(specs, levels.pairs), positions, levels.contrast, explains=False)


def outcomes(claims: Sequence[Judged], specs: dict[str, list[SpecScores]]) -> list[str]:
    """The verdicts on a file's claims; `specs` has the scores on each measure."""
    levels = levels_of(claims)
    tables = {measure: table(specs[measure], levels[measure]) for measure in levels}
    return [judge_scores(each, tables[each.measure]).verdict for each in claims]


def tables_of(cell: Cell, repetitions: int, seed: int) -> Iterator[dict[str, list[SpecScores]]]:
    """Scores on two measures, repeatedly."""
    data = [simulate(cell, repetitions, np.random.default_rng((seed, part))) for part in range(len(MEASURES))]
    for repetition in range(repetitions):
        yield {
            measure: scores_of(cell, part, repetition) for measure, part in zip(MEASURES, data, strict=True)
        }


def of_equal_specs(cell: Cell, repetitions: int, seed: int = 0) -> Rates:
    """The rates of wrong verdicts on specs that are equal."""
    specs, found = len(cell.counts), np.zeros(3)
    pairs, trend = pair_claims(specs), [claim("trend", field=FIELD, direction="falls")]
    file = claims_of_a_file(specs)
    for scores in tables_of(cell, repetitions, seed):
        found += [
            any(verdict != "undecided" for verdict in outcomes(pairs, scores)),
            outcomes(trend, scores) != ["undecided"],
            any(_is_wrong(each, verdict) for each, verdict in zip(file, outcomes(file, scores), strict=True)),
        ]
    return Rates(*(found / repetitions))


def _is_wrong(found: Judged, verdict: str) -> bool:
    """Whether a verdict is wrong about equal specs."""
    if isinstance(found, Equivalent):
        return verdict == "fails"
    if isinstance(found, Better) and found.by > 1:
        return verdict == "holds"
    return verdict != "undecided"


def equivalent_beyond_the_margin(cell: Cell, margin: str | float, repetitions: int, seed: int = 0) -> float:
    """How often specs whose true scores differ by a little more than the margin are called equivalent."""
    equivalent = [claim("equivalent", point="0", to="1", margin=margin)]
    verdicts = [outcomes(equivalent, scores) for scores in tables_of(cell, repetitions, seed)]
    return verdicts.count(["holds"]) / repetitions
