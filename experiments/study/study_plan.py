"""What the study consists of: its sweeps at a scale, with their points and seeds, and which are finished."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ddpmx.claims.recorded import Claimed
from ddpmx.errors import SpecError
from ddpmx.runs.known_runs import finished_runs
from ddpmx.spec.schema import Spec
from ddpmx.storage.checkpoint_folder import last_step
from ddpmx.sweeps.claims import claimed
from ddpmx.sweeps.points import load_sweep

FOLDER = Path(__file__).resolve().parent
QUESTIONS = (
    ("losses", "losses_repeat"),
    ("timesteps", "timesteps_rescaled"),
    ("schedules", "schedules_equal"),
)
"""The sweeps of each question, the original and its corrected twin: what matters most comes first."""
SWEEPS = tuple(sweep for question in QUESTIONS for sweep in question)
ALL_AT_ONCE = ("digits",)
"""Scales at which all questions get one seed after the other, which takes an hour each time. At others it
takes many: there each question gets all its seeds before the next one begins. Were the study stopped halfway,
half the seeds would leave every question open, while so the first ones are answered."""
SETTINGS = "settings"
"""The file beside the scales that they extend."""


@dataclass(frozen=True)
class Study:
    """The six sweeps at a scale."""

    scale: Path
    """The scale's file."""
    out: Path
    """The folder with the runs, a folder in it for each sweep."""
    seeds: tuple[int, ...]
    """The seeds of every point."""
    sweeps: Mapping[str, Mapping[str, tuple[Spec, ...]]]
    """The specs of each sweep's points, one for each seed, by the sweep's name and the point's label."""
    groups: tuple[tuple[str, ...], ...] = ()
    """The sweeps that get their seeds together, one group after the other."""

    def rounds(self) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
        """What is trained, one after the other: some sweeps with the first, the first two, … seeds."""
        for sweeps in self.groups:
            for count in range(1, len(self.seeds) + 1):
                yield sweeps, self.seeds[:count]

    def file(self, sweep: str) -> Path:
        """The file of a sweep."""
        return FOLDER / f"{sweep}.yaml"

    def overrides(self, seeds: Sequence[int]) -> list[str]:
        """The values of `-s` with which a sweep has this scale and only these seeds."""
        return [f"extends={json.dumps(str(self.scale))}", f"sweep.seed={list(seeds)}"]

    def specs(self, sweep: str, seeds: Sequence[int] | None = None) -> list[Spec]:
        """The specs of a sweep, all or those with some seeds."""
        wanted = self.seeds if seeds is None else seeds
        return [spec for point in self.sweeps[sweep].values() for spec in point if spec.seed in wanted]

    def complete(self, sweep: str, done: Collection[str]) -> tuple[int, ...]:
        """The first seeds that all points of a sweep have, at least one; `done` names finished specs."""
        left = {spec.seed for spec in self.specs(sweep) if spec.name not in done}
        return tuple(takewhile(lambda seed: seed not in left, self.seeds)) or self.seeds[:1]

    def claimed(self, sweep: str, seeds: Sequence[int]) -> Claimed | None:
        """The claims of a sweep about points with these seeds; None if it has none."""
        return claimed(load_sweep(self.file(sweep), self.overrides(seeds)))

    def finished(self) -> dict[str, Path]:
        """The finished run of each spec that has one, by the spec's name; two sweeps' specs may share it."""
        return finished_runs([spec for sweep in self.sweeps for spec in self.specs(sweep)], self.out)


def has_weights(run: Path) -> bool:
    """Whether a run has weights, so that it can be measured; one that was taken from the results has none."""
    return last_step(run / "checkpoints") is not None


def load_study(scale: str, out: Path, seeds: int | None) -> Study:
    """The study at a scale, with all seeds or the first ones. Raises SpecError for an unknown scale."""
    known = sorted(file.stem for file in (FOLDER / "scales").glob("*.yaml") if file.stem != SETTINGS)
    if scale not in known:
        raise SpecError(f"there is no scale '{scale}', only {', '.join(known)}", field="SCALE")
    file = FOLDER / "scales" / f"{scale}.yaml"
    loaded = {
        name: load_sweep(FOLDER / f"{name}.yaml", [f"extends={json.dumps(str(file))}"]).by_label
        for name in SWEEPS
    }
    own = tuple(
        dict.fromkeys(spec.seed for points in loaded.values() for specs in points.values() for spec in specs)
    )
    if seeds is not None and not 1 <= seeds <= len(own):
        raise SpecError(f"should be 1 to {len(own)}, as many seeds as the scale has", field="--seeds")
    used = own[:seeds]
    return Study(
        file,
        out,
        used,
        {
            name: {
                label: tuple(spec for spec in specs if spec.seed in used) for label, specs in points.items()
            }
            for name, points in loaded.items()
        },
        (SWEEPS,) if scale in ALL_AT_ONCE else QUESTIONS,
    )
