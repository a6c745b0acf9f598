"""The specs of a sweep, and the points that further seeds add to it.

Points that differ only in their seed are one spec. The sweep's own seeds come first, and then the unused ones
above the smallest of them, in order. A point with an added seed is one of the same sweep with `seed: [N]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice

from ..errors import SpecError
from ..spec.loading import field_of
from ..spec.schema import Spec
from .labels import spec_hash
from .points import Sweep, load_sweep
from .request import Request

AXIS = "sweep.seed"
"""The field that added seeds set."""


@dataclass(frozen=True)
class Batch:
    """The points of one added seed, or of a sweep's own seeds."""

    request: Request
    """The request whose commands run them."""
    grid: Sweep
    """The points."""
    by_spec: Mapping[tuple[str, int], Spec]
    """The points by the hash of their spec, and their seed."""

    @classmethod
    def of(cls, request: Request, grid: Sweep) -> Batch:
        """The batch with all points of a sweep."""
        return cls(request, grid, {(spec_hash(point), point.seed): point for point in grid.points})


@dataclass(frozen=True)
class Seeded:
    """The specs of a sweep, each with the same seeds."""

    own: Batch
    """The sweep as it is written."""
    names: tuple[str, ...]
    """The labels of the specs' points."""
    hashes: tuple[str, ...]
    """A hash of each spec without its seed."""
    first: tuple[int, ...]
    """The sweep's own seeds, in their order."""
    _added: dict[int, Batch] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        """The request for the sweep as it is written."""
        return self.own.request

    @property
    def grid(self) -> Sweep:
        """The sweep as it is written."""
        return self.own.grid

    @classmethod
    def of(cls, request: Request, grid: Sweep) -> Seeded:
        """The specs of a sweep. Raises SpecError if it has only one, or if they have different seeds."""
        own = Batch.of(request, grid)
        by_spec: dict[str, dict[int, Spec]] = {}
        for (spec, seed), point in own.by_spec.items():
            by_spec.setdefault(spec, {})[seed] = point
        if len(by_spec) < 2:
            text = "the sweep has a single spec, so that there is no pair to be settled"
            raise SpecError(text, field="--until-settled", hint="points that differ only in seed are one")
        first, *others = (tuple(seeds) for seeds in by_spec.values())
        if any(set(seeds) != set(first) for seeds in others):
            raise _no_axis("the specs of the sweep have different seeds")
        return cls(own, tuple(grid.by_label), tuple(by_spec), first)

    def seeds(self, most: int) -> tuple[int, ...]:
        """The sweep's own seeds, then added ones, `most` in all."""
        unused = (seed for seed in count(min(self.first)) if seed not in self.first)
        return tuple(islice([*self.first, *islice(unused, most)], max(most, len(self.first))))

    def batch(self, seed: int) -> Batch:
        """The points with a seed. Raises SpecError if the seed cannot be added to the sweep."""
        if seed in self.first:
            return self.own
        if seed not in self._added:
            self._added[seed] = self._with(seed)
        return self._added[seed]

    def point(self, spec: int, seed: int) -> Spec:
        """The point of a spec with a seed."""
        return self.batch(seed).by_spec[self.hashes[spec], seed]

    def _with(self, seed: int) -> Batch:
        # `-s seed=…` is that of the sweep's own points; no point may set it twice.
        overrides = [text for text in self.request.overrides if field_of(text) != "seed"]
        request = replace(self.request, overrides=(*overrides, f"{AXIS}=[{seed}]"))
        batch = Batch.of(request, load_sweep(request.path, request.overrides))
        if list(batch.by_spec) != [(spec, seed) for spec in self.hashes]:
            raise _no_axis(f"with seed {seed}, the sweep does not have the same specs")
        return batch


def _no_axis(text: str) -> SpecError:
    hint = "write seeds as a field of their own, `seed: [0, 1]`, not in `zip` or `points`"
    return SpecError(text, field="--until-settled", hint=hint)
