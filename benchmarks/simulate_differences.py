"""How often the intervals of differences hold: prints docs/statistics.md's tables.

`python benchmarks/simulate_differences.py [REPETITIONS]`, 10,000 unless given; some minutes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from simulated_scores import Cell, Simulated, compared, compared_before, simulate
from simulated_settling import settling_table

BEFORE = 2000
"""Repetitions of the earlier rule, which is slower."""


def spreads(name: str, specs: int) -> tuple[float, ...]:
    """The standard deviations over seeds that a table calls by this name."""
    if name == "half 5":
        return (5.0,) * (specs // 2) + (1.0,) * (specs - specs // 2)
    first = {"1 : 1": 1.0, "one 5": 5.0, "one 1/5": 0.2, "one 20": 20.0, "one 100": 100.0}[name]
    return (first,) + (1.0,) * (specs - 1)


def figures(cell: Cell, repetitions: int, seed: int) -> tuple[float, float, float, float]:
    """(coverage, no false winner, median width over that of the earlier rule, the latter's coverage)."""
    data = simulate(cell, repetitions, np.random.default_rng(seed))
    found = compared(cell, data)
    few = Simulated(data.scores[:BEFORE], data.factor[:BEFORE], data.trained[:BEFORE])
    before = compared_before(cell, few)
    width = np.median(found.halves.mean(axis=1)) / np.median(before.halves.mean(axis=1))
    return found.coverage, found.no_false_winner, float(width), before.coverage


def row(labels: Sequence[object], cells: Sequence[Cell], repetitions: int) -> str:
    """A line of a table: the labels, and each figure for each of the cells."""
    each = zip(*(figures(cell, repetitions, seed) for seed, cell in enumerate(cells)), strict=True)
    texts = [" / ".join(f"{100 * value:.1f}" for value in values) for values in each]
    widths = " / ".join(f"{float(value) / 100:.2f}" for value in texts[2].split(" / "))
    return "| " + " | ".join([*map(str, labels), texts[0], texts[1], widths, texts[3]]) + " |"


def header(labels: Sequence[str]) -> str:
    columns = [*labels, "coverage, %", "no false winner, %", "width ÷ earlier", "earlier coverage, %"]
    return "| " + " | ".join(columns) + " |\n" + "| --- " * len(columns) + "|"


def equal_numbers(repetitions: int) -> Iterator[str]:
    """Lines over specs, seeds and spreads; the figures are for a correlation of 0, 0.5 and 0.95."""
    yield header(["specs", "seeds", "spreads"])
    for specs in (2, 4, 12):
        for seeds in (1, 2, 3, 5, 8):
            for name in ("1 : 1", "one 5", "half 5", "one 1/5"):
                if (seeds == 1 and name != "1 : 1") or (specs == 2 and name in ("half 5", "one 1/5")):
                    continue
                cells = [
                    Cell((seeds,) * specs, spreads(name, specs), correlation)
                    for correlation in (0.0, 0.5, 0.95)
                ]
                yield row([specs, seeds, name], cells, repetitions)


def other_situations(repetitions: int) -> Iterator[str]:
    """Lines over what differs from the first table; the figures are for 2, 4 and 12 specs."""
    yield header(["what", "seeds", "spreads"])
    images = {f"images' noise {size:g}": {"images": size} for size in (0.0, 0.3, 3.0)}
    sorts = {
        **images,
        "images of each seed their own": {"shared": False},
        "seeds: t with 3 degrees": {"tails": "t3"},
        "seeds: lognormal": {"tails": "lognormal"},
        "30 % of the seeds' variance common": {"common": 0.3},
    }
    for what, fields in sorts.items():
        for seeds in (2, 3, 8):
            for name in ("1 : 1", "one 5"):
                cells = [Cell((seeds,) * specs, spreads(name, specs), **fields) for specs in (2, 4, 12)]
                yield row([what, seeds, name], cells, repetitions)
    for seeds in (2, 3, 8):
        for name in ("1 : 1", "one 5", "the largest 5"):
            cells = [
                Cell(
                    (seeds,) * specs,
                    spreads("one 5", specs)[::-1] if name == "the largest 5" else spreads(name, specs),
                    means=tuple(np.geomspace(10, 40, specs)),
                )
                for specs in (2, 4, 12)
            ]
            yield row(["scores from 10 to 40", seeds, name], cells, repetitions)


def unequal_numbers(repetitions: int) -> Iterator[str]:
    """Lines over numbers of seeds, half of the specs each; the figures are for 2, 4 and 12 specs."""
    yield header(["seeds", "spreads"])
    for few, many in ((1, 3), (1, 8), (2, 3), (2, 8), (3, 5)):
        for name in ("1 : 1", "few seeds 5", "many seeds 5", "one 5"):
            cells = []
            for specs in (2, 4, 12):
                half = specs // 2
                wide = {
                    "few seeds 5": (5.0,) * half + (1.0,) * half,
                    "many seeds 5": (1.0,) * half + (5.0,) * half,
                }
                noise = wide.get(name) or spreads(name, specs)
                cells.append(Cell((few,) * half + (many,) * half, noise))
            yield row([f"{few} and {many}", name], cells, repetitions)


def beyond(repetitions: int) -> Iterator[str]:
    """Lines over spreads that no rule for few seeds can promise anything about; 2, 4 and 12 specs."""
    yield header(["seeds", "spreads"])
    for seeds in (2, 3, 5, 8):
        for name in ("one 20", "one 100"):
            cells = [
                Cell((seeds,) * specs, spreads(name, specs), means=(3000.0,) * specs) for specs in (2, 4, 12)
            ]
            # the scores are large beside their spreads, so that these are compared as they are
            yield row([seeds, name], [replace(cell, images=1.0) for cell in cells], repetitions)


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    warnings.simplefilter("ignore", RuntimeWarning)  # the earlier rule has no spread over one seed
    for title, lines in (
        ("Equal numbers of seeds", equal_numbers),
        ("Other situations", other_situations),
        ("Unequal numbers of seeds", unequal_numbers),
        ("Beyond the promise", beyond),
        ("Adding seeds until settled", settling_table),
    ):
        print(f"\n### {title}\n")
        for line in lines(repetitions):
            print(line, flush=True)


if __name__ == "__main__":
    main()
