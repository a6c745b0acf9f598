"""Seeds added to simulated specs until `Settling` ends: error rates and the seeds that it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ddpmx.theory.scores import Draws, SpecScores
from ddpmx.theory.sequential import Settling


@dataclass(frozen=True)
class Situation:
    """Specs whose true scores are `gaps` above 30, with seeds' noise of standard deviation 1."""

    what: str
    gaps: tuple[float, ...]
    margin: float
    images: float = 0.0
    """Standard deviation of each spec's images' noise, independent and shared by its seeds."""
    spreads: tuple[float, ...] = ()
    """Of the seeds' noise, if not 1."""


SITUATIONS = (
    Situation("equal specs", (0.0, 0.0), 1.5),
    Situation("equal specs, images' noise", (0.0, 0.0), 2.5, images=0.5),
    Situation("equal specs, spreads 1 : 5", (0.0, 0.0), 5.0, spreads=(1.0, 5.0)),
    Situation("a difference of 2.5", (0.0, 2.5), 1.5),
    Situation("a difference of 4, images' noise", (0.0, 4.0), 1.5, images=0.5),
    Situation("a difference at the margin", (0.0, 1.5), 1.5),
    Situation("a difference at the margin, images' noise", (0.0, 2.5), 2.5, images=0.5),
    Situation("a difference at the margin, spreads 1 : 5", (0.0, 5.0), 5.0, spreads=(1.0, 5.0)),
    Situation("a difference at the margin of noise alone", (0.0, 0.4), 0.4),
)
HALVES = 200


def settle(situation: Situation, rule: Settling, generator: np.random.Generator) -> tuple[dict, int]:
    """The verdicts on all pairs, and the seeds of all specs together."""
    specs = len(situation.gaps)
    spreads = np.array(situation.spreads or (1.0,) * specs)[:, None]
    noise = spreads * generator.normal(size=(specs, rule.max_seeds))
    images = situation.images * generator.normal(size=specs)
    scores = 30 + np.array(situation.gaps)[:, None] + images[:, None] + noise
    draws = [
        Draws("halves", situation.images * generator.normal(size=(1, HALVES))) if situation.images else None
        for _ in range(specs)
    ]
    counts, verdicts = [2] * specs, {}
    while True:
        data = [
            SpecScores(tuple(range(count)), tuple(row[:count].tolist()), draw)
            for count, row, draw in zip(counts, scores, draws, strict=True)
        ]
        verdicts = rule.look(data, verdicts)
        wanted = rule.next(data, verdicts)
        if not wanted:
            return verdicts, sum(counts)
        for spec in wanted:
            counts[spec] += 1


def settling_table(repetitions: int, situations: tuple[Situation, ...] = SITUATIONS) -> Iterator[str]:
    """Lines of the shares of verdicts on a pair, and the mean number of seeds of a spec."""
    yield "| what | margin | differs, % | equivalent, % | open, % | mean seeds a side |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for situation in situations:
        rule = Settling(situation.margin, relative=False)
        generator, found, seeds = np.random.default_rng(0), Counter[str](), 0
        for _ in range(repetitions):
            verdicts, used = settle(situation, rule, generator)
            found.update(verdicts.values())
            seeds += used
        shares = [
            f"{100 * found[verdict] / found.total():.1f}" for verdict in ("differs", "equivalent", "open")
        ]
        mean = seeds / repetitions / len(situation.gaps)
        yield f"| {situation.what} | {situation.margin:g} | " + " | ".join(shares) + f" | {mean:.1f} |"
