"""How often verdicts on claims are wrong: prints the tables of "Claims" in docs/statistics.md.

`python benchmarks/simulate_claims.py [REPETITIONS]`, 10,000 unless given; about half an hour.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from simulate_differences import spreads
from simulated_claims import equivalent_beyond_the_margin, of_equal_specs
from simulated_scores import Cell

EQUAL = [
    (2, 8, "1 : 1", {"images": 0.0}),
    (3, 2, "one 5", {"images": 0.0}),
    (3, 3, "1 : 1", {}),
    (3, 8, "one 5", {}),
    (5, 2, "1 : 1", {"images": 0.0}),
    (5, 2, "one 5", {}),
    (5, 3, "one 5", {"images": 0.0}),
    (5, 3, "half 5", {}),
    (5, 8, "1 : 1", {"images": 0.0}),
    (5, 8, "1 : 1", {"correlation": 0.95}),
    (5, 8, "one 5", {}),
    (5, 8, "1 : 1", {"images": 0.2, "common": 0.5}),
    (8, 8, "half 5", {"images": 0.0}),
    (8, 8, "1 : 1", {}),
]
"""Numbers of specs and seeds, spreads, and what else differs from `Cell`'s defaults."""


@dataclass(frozen=True)
class Beyond:
    """Specs of which the first two differ by 0.1 % more than a margin; the others are like the first."""

    specs: int
    seeds: int
    spreads: str
    margin: float | str
    gap: float
    more: dict[str, float] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """The cell, whose second spec has the larger score."""
        means = [30.0] * self.specs
        means[1] += 1.001 * self.gap
        width = self.more.get("spread", 1.0)
        more = {key: value for key, value in self.more.items() if key != "spread"}
        wide = tuple(width * each for each in spreads(self.spreads, self.specs))
        return Cell((self.seeds,) * self.specs, wide, means=tuple(means), **more)


TENTH = 30 * 0.1 / 0.95
"""The difference from 30 that is 10 % of the mean of both."""
BEYOND = [
    Beyond(2, 8, "1 : 1", 1.5, 1.5, {"images": 0.0}),
    Beyond(2, 8, "one 5", 6.0, 6.0, {"images": 0.0}),
    Beyond(5, 8, "1 : 1", 2.5, 2.5, {"images": 0.5}),
    Beyond(2, 3, "1 : 1", "10 %", TENTH, {"images": 0.0, "spread": 0.5}),
    Beyond(2, 8, "1 : 1", "10 %", TENTH, {"images": 0.5}),
    Beyond(5, 8, "one 5", "10 %", TENTH, {"images": 0.5, "spread": 0.3}),
    Beyond(2, 8, "1 : 1", "10 %", TENTH, {"images": 3.0, "correlation": 0.999, "spread": 0.05}),
]


def images_of(cell: Cell) -> str:
    """The images' noise of a cell in words."""
    text = f"{cell.images:g}, correlation {cell.correlation:g}" if cell.images else "0"
    return f"{text}; half of the seeds' common" if cell.common else text


def equal_specs(repetitions: int) -> Iterator[str]:
    """Lines of how often something is found among equal specs."""
    yield "| specs | seeds | spreads | images' noise | a pair differs, % | a trend, % | any wrong, % |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for seed, (specs, seeds, name, more) in enumerate(EQUAL):
        cell = Cell((seeds,) * specs, spreads(name, specs), **more)
        found = of_equal_specs(cell, repetitions, seed)
        rates = " | ".join(f"{100 * rate:.1f}" for rate in (found.pairs, found.trend, found.any))
        yield f"| {specs} | {seeds} | {name} | {images_of(cell)} | {rates} |"


def beyond_the_margin(repetitions: int) -> Iterator[str]:
    """Lines of how often specs are called equivalent whose difference is just beyond the margin."""
    yield "| specs | seeds | spreads | images' noise | margin | equivalent, % |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for seed, each in enumerate(BEYOND):
        rate = equivalent_beyond_the_margin(each.cell, each.margin, repetitions, seed)
        name = each.spreads if "spread" not in each.more else f"{each.spreads}, × {each.more['spread']:g}"
        words = f"{each.specs} | {each.seeds} | {name} | {images_of(each.cell)} | {each.margin}"
        yield f"| {words} | {100 * rate:.1f} |"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for lines in (equal_specs(count), beyond_the_margin(count)):
        for line in lines:
            print(line, flush=True)
        print(flush=True)
