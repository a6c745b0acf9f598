"""Quality over what measurements of the same networks differ in, for each training of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import SpecError
from ..pages.ema_quality import ema_qualities
from ..pages.quality import Quality
from ..pages.sampler_quality import sampler_qualities
from ..pages.varied import Network
from ..runs.known_runs import MEASURED, training_key
from ..storage.provenance import fingerprint_of
from .fields import differing, labels, texts, value_at
from .results import Run


@dataclass(frozen=True)
class TrainingQuality:
    """What was measured of the networks of one training, with all seeds."""

    label: str
    """A name of the training; empty if there is only one."""
    groups: tuple[str, ...]
    """Labels of the specs that are trained so; several may differ in how they are measured."""
    qualities: tuple[Quality, ...]
    """The curves."""
    problem: str = ""
    """Why curves over the samplers' evaluations are missing; empty if they are not."""

    @property
    def sentences(self) -> list[str]:
        """The curves in words."""
        prefix = f"{self.label}, " if self.label else ""
        return [
            f"{prefix}{text}" for text in [*(one.sentence for one in self.qualities), self.problem] if text
        ]


def training_qualities(runs: Sequence[tuple[str, Run]]) -> tuple[TrainingQuality, ...]:
    """The curves of the trainings of some runs, each given with the label of its spec.

    Specs that differ only in how they are measured share a training.
    """
    trainings: dict[str, list[tuple[str, Run]]] = {}
    for label, run in runs:
        trainings.setdefault(training_key({**run.resolved, "seed": None}), []).append((label, run))
    names = _labels(list(trainings.values()))
    found = [_qualities(name, members) for name, members in zip(names, trainings.values(), strict=True)]
    return tuple(one for one in found if one.qualities or one.problem)


def _training(run: Run) -> Mapping[str, object]:
    """The part of the spec that says how the run is trained, apart from the seed."""
    return {
        key: value for key, value in run.resolved.items() if key not in (*MEASURED, "name", "seed", "track")
    }


def _labels(trainings: Sequence[Sequence[tuple[str, Run]]]) -> list[str]:
    if len(trainings) == 1:
        return [""]
    specs = [_training(members[0][1]) for members in trainings]
    columns = {path: texts([value_at(spec, path) for spec in specs]) for path in differing(specs)}
    return labels([{label for label, _ in members} for members in trainings], columns)


def _qualities(label: str, members: Sequence[tuple[str, Run]]) -> TrainingQuality:
    networks = [
        Network(
            run.seed,
            run.path,
            fingerprint_of({"step": math.inf}, run.environment) or run.spec["dataset"]["name"],
            [*run.own, *run.others],
        )
        for _, run in members
    ]
    groups = tuple(dict.fromkeys(group for group, _ in members))
    try:
        samplers, problem = sampler_qualities(networks), ""
    except SpecError as error:
        samplers, problem = [], f"the samplers' evaluations are not known ({error.message})."
    return TrainingQuality(label, groups, (*samplers, *ema_qualities(networks)), problem)
