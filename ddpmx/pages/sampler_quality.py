"""Quality against network evaluations: samplers of the same networks, and the fewest evaluations that do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..components.registry import SAMPLERS
from ..spec.evaluation import GuidanceSpec
from ..spec.loading import load_run
from ..spec.schema import Spec
from ..storage.measurement import Block, Measurement
from ..text import listed
from ..theory.estimate import amount
from ..training.pacing import passes_per_image
from .quality import Placed, Quality
from .varied import SAMPLER, Network, Varied, varied

LENGTH = ("steps", "timesteps")
"""Parameters that decide how long a sampler takes; measurements that differ in them alone form a line."""
EVALUATIONS = "network evaluations per image"
MOST_NAMED = 4
"""Most samplers that a sentence names for one reason."""


def sampler_qualities(networks: Sequence[Network]) -> list[Quality]:
    """The metrics that were measured with several samplers or numbers of steps.

    Metrics that the sampler does not change are left out. Raises SpecError if the spec of the first network
    no longer loads.
    """
    found = [one for one in varied(networks, SAMPLER) if len({p.estimate.value for p in one.points}) > 1]
    spec = load_run(networks[0].run) if found else None
    return [] if spec is None else [_quality(one, spec) for one in found]


def evaluations(spec: Spec, measured: Measurement) -> int:
    """Network evaluations per image of a measurement; a guided evaluation counts twice."""
    parameters = dict(measured.sampler)
    changes = {"sampler": SAMPLERS.build(str(parameters.pop("name")), **parameters)}
    evaluate = spec.evaluate.model_copy(update=changes)
    guidance = GuidanceSpec.model_validate(dict(measured.guidance))
    changed = spec.model_copy(update={"evaluate": evaluate, "guidance": guidance})
    return passes_per_image(changed, spec.schedule.table())


def _quality(one: Varied, spec: Spec) -> Quality:
    names = _names([cast(Block, point.setting) for point in one.points])
    placed = []
    for point, name in zip(one.points, names, strict=True):
        count = evaluations(spec, point.measurements[0])
        placed.append(Placed(point, f"{name} with {count:,}", name, count))
    placed.sort(key=lambda each: (each.line, each.x))
    return Quality(one, tuple(placed), EVALUATIONS, "evaluations", _sentence(one, placed))


def _names(blocks: Sequence[Block]) -> list[str]:
    """Each sampler's name, with the parameters other than LENGTH in which it differs from others of it."""
    names = []
    for block in blocks:
        alike = [other for other in blocks if other.get("name") == block.get("name")]
        distinct = [
            f"{key} {_text(value)}"
            for key, value in block.items()
            if key not in LENGTH and any(other.get(key) != value for other in alike)
        ]
        names.append(" ".join([str(block.get("name")), *distinct]))
    return names


def _text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(one: Varied, placed: Sequence[Placed]) -> str:
    """The fewest evaluations within noise of the best, of any sampler and of each other one."""
    best = next(each for each in placed if each.point is one.points[one.best])
    value = amount(best.point.estimate)
    start = f"{one.metric} by network evaluations: "
    end = f"; on {one.networks}."
    if all(each.point.is_near is None for each in placed if each is not best):
        extreme = "lowest" if one.better == "lower" else "highest"
        return f"{start}{best.name} is {extreme}, {value}; {one.untested}{end}"
    near = [each for each in placed if each is best or each.point.is_near]
    knees = {name: min(each.x or 0 for each in near if each.line == name) for name in {e.line for e in near}}
    first = min(near, key=lambda each: (each.x, each is not best))
    if first is best:
        parts = [f"{best.name} evaluations is best, {value}"]
    else:
        parts = [f"{first.name} evaluations is within noise of the best, {best.name} ({value})"]
    others = sorted((count, name) for name, count in knees.items() if name != first.line)
    if others:
        parts.append(listed([f"{name} needs {count:,}" for count, name in others], MOST_NAMED))
    far = sorted({each.line for each in placed} - knees.keys())
    if far:
        is_or_are = "is" if len(far) == 1 else "are"
        parts.append(
            f"{listed(far, MOST_NAMED)} {is_or_are} worse by more than noise with any number measured"
        )
    return start + "; ".join(parts) + end
