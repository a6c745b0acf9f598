"""The trainings of a sweep: points that differ only in how they are measured share one.

Which points share is a matter of their specs alone. What is done already is a matter of the runs on disk:
finished runs stay as they are, and a point whose own training was begun earlier completes that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runs.known_runs import MEASURED, Finished, comparable, finished, training_key, unfinished_run
from ..spec.schema import Spec
from ..storage.checkpoint_folder import last_step
from ..text import listed

MOST_NAMED = 6
"""Most points that a line of the announcement names."""
MOST_LINES = 12
"""Most lines of the announcement."""


@dataclass(frozen=True)
class Training:
    """Points that share one training."""

    points: tuple[Spec, ...]
    """In the order of the sweep. The command of the first one also measures the others."""

    @property
    def first(self) -> Spec:
        """The first point, which trains unless one of them has trained already."""
        return self.points[0]

    def __contains__(self, spec: Spec) -> bool:
        return any(spec is point for point in self.points)

    @property
    def is_shared(self) -> bool:
        """Whether several points share it."""
        return len(self.points) > 1


@dataclass(frozen=True)
class Progress:
    """What the runs on disk have of a sweep's points."""

    finished: Finished
    """The finished runs, and those whose training can be shared."""
    begun: Mapping[str, Path]
    """The unfinished runs with a checkpoint of their own, by the point's name."""

    @classmethod
    def look(cls, points: Sequence[Spec], out: Path, folder: Path) -> Progress:
        """The runs below `out` of points whose sweep has the folder `folder`."""
        known = finished(points, out)
        begun = {
            spec.name: run
            for spec in points
            if spec.name not in known.runs
            and (run := unfinished_run(spec, folder)) is not None
            and last_step(run / "checkpoints") is not None
        }
        return cls(known, begun)


@dataclass(frozen=True)
class Remaining:
    """What is left to do for the points of one training."""

    trained: Path | None
    """The finished run whose weights the points are measured with; None if there is none yet."""
    trainer: Spec | None
    """The point that trains these weights; None if nothing has to be trained for others."""
    measured: tuple[Spec, ...]
    """The points that are measured with the weights of `trained` or `trainer`."""
    separate: tuple[Spec, ...]
    """Further points that have begun a training of their own and complete it, as before they could share."""

    @classmethod
    def of(cls, training: Training, progress: Progress) -> Remaining:
        """What is left to do, given the runs on disk."""
        unfinished = [spec for spec in training.points if spec.name not in progress.finished.runs]
        begun = [spec for spec in unfinished if spec.name in progress.begun]
        rest = [spec for spec in unfinished if spec not in begun]
        trained = progress.finished.trainings.get(training.first.name)
        trainer = None if trained else next(iter([*begun, *rest]), None)
        return cls(
            trained,
            trainer,
            tuple(spec for spec in rest if spec is not trainer),
            tuple(spec for spec in begun if spec is not trainer),
        )

    def jobs(self, training: Training) -> list[Spec]:
        """The points whose commands complete all points of the training."""
        others = [spec for spec in self.separate if spec is not training.first]
        by_first = self.trainer or self.measured or len(others) < len(self.separate)
        return [*([training.first] if by_first else []), *others]


def trainings_of(points: Sequence[Spec]) -> list[Training]:
    """The trainings of a sweep's points, in the order of their first points."""
    groups: dict[str, list[Spec]] = {}
    for spec in points:
        groups.setdefault(training_key(comparable(spec)), []).append(spec)
    return [Training(tuple(group)) for group in groups.values()]


def announcement(trainings: Sequence[Training], progress: Progress) -> list[str]:
    """Lines on which points share a training; none if no points do."""
    lines = [line for training in trainings if (line := _line(training, progress))]
    if not lines and not any(training.is_shared for training in trainings):
        return []
    points = sum(len(training.points) for training in trainings)
    count = f"{len(trainings)} {'training' if len(trainings) == 1 else 'trainings'} for {points} points"
    more = [f"  … and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [
        f"{count}: points that differ only in {', '.join(MEASURED[:-1])} or {MEASURED[-1]} share one",
        *lines[:MOST_LINES],
        *more,
    ]


def sharing_note(training: Training, spec: Spec) -> str:
    """A line on the training of one point; empty if it shares none."""
    if not training.is_shared:
        return ""
    others = [point.name for point in training.points if point is not spec]
    if spec is training.first:
        return f"its training is shared: its command also measures {listed(others, MOST_NAMED)}"
    return f"it shares the training of {training.first.name}, which its command runs if it is not finished"


def _line(training: Training, progress: Progress) -> str:
    """A line on a training with points to be measured; empty if there are none."""
    remaining = Remaining.of(training, progress)
    if not remaining.measured:
        return ""
    names = listed([spec.name for spec in remaining.measured], MOST_NAMED)
    weights = f"the weights of {remaining.trained or (remaining.trainer or training.first).name}"
    return f"  {names} {'is' if len(remaining.measured) == 1 else 'are'} measured with {weights}"
