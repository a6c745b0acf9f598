"""The runs behind `--until-settled`: started as a sweep's points are, within the budget, and then read."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean

from ..comparison.ranking import mismatch
from ..comparison.results import Run, read_run
from ..comparison.scores import scores_of
from ..errors import SpecError
from ..process.stop import StopSignal
from ..runs.known_runs import finished_runs
from ..spec.schema import Spec
from ..storage.folder import RunFolder
from ..terminal.console import Bar
from ..terminal.time_left import roughly
from ..text import listed
from ..theory.scores import SpecScores
from .jobs import engine_of, run_jobs
from .local import Job, slots
from .looks import Better
from .seeded import Batch, Seeded
from .statuses import changed_data, jobs_left, set_statuses
from .trainings import Progress, Training, trainings_of

MOST_NAMED = 6
NOT_STARTED = "not started"


@dataclass(frozen=True)
class Workers:
    """How the runs of a sweep are started."""

    engine: str
    """`local` or `ray`."""
    jobs: int | None
    """How many run at the same time; None for as many as there is room for."""
    stop: StopSignal
    bar: Bar
    deadline: float = math.inf
    """The value of `time.monotonic()` from which on none is started."""


@dataclass(frozen=True)
class Work:
    """What is left to run of some points."""

    points: tuple[Spec, ...]
    trainings: tuple[Training, ...]
    """The trainings that have such points."""
    jobs: tuple[Job, ...]
    """They complete all points of these trainings."""


@dataclass
class SettleRuns:
    """The runs of a sweep's specs with some seeds; see `looks.Runs`."""

    seeded: Seeded
    order: tuple[int, ...]
    """All seeds that a spec may get."""
    measure: str
    workers: Workers
    done: dict[str, Path] = field(default_factory=dict)
    """The finished runs, by the point's name."""
    result: dict[str, str] = field(default_factory=dict)
    """The status of each point that was looked for or run."""
    trainings: dict[str, Training] = field(default_factory=dict)
    """The trainings of these points, by their first point's name."""
    why: str = ""
    """Why the runs ended before all had been tried: a stop or the budget; empty if they did not."""
    failures: dict[int, str] = field(default_factory=dict)
    """Why specs have no score of a seed that was asked for."""
    stopped: bool = False
    """Whether a stop was requested."""
    _read: dict[Path, Run] = field(default_factory=dict)
    _reference: Run | None = None
    _wave: float | None = None
    """Seconds that jobs that started together have just taken."""

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.seeded.request.out / self.seeded.grid.name

    @cached_property
    def _usual_seed(self) -> int:
        """The seed of the starting noise of most specs."""
        seeds = Counter(point.evaluate.seed for point in self.seeded.grid.points)
        return seeds.most_common(1)[0][0]

    @property
    def better(self) -> Better:
        """Which score is the better one. Only to be asked after `scores`."""
        assert self._reference is not None
        return "higher" if self._reference.results[self.measure].better == "higher" else "lower"

    def complete(self, specs: Sequence[int], seeds: int) -> bool:
        """Run what is missing of the first `seeds` seeds; False if that ended before all had been tried.

        What has failed is not tried again.
        """
        work = [
            found for batch, points in self._missing(specs, seeds) if (found := self.look(batch, points)).jobs
        ]
        jobs = [job for found in work for job in found.jobs]
        if not jobs:
            return True
        workers, ended = self.workers, dict[str, str]()
        with engine_of(workers.engine, len(jobs), workers.jobs, self.seeded.request.device) as engine:
            waves = math.ceil(len(jobs) / engine.at_once)
            if self._does_not_fit(len(jobs), waves):
                return False
            self._say_what_starts([point.seed for found in work for point in found.points], len(jobs), waves)
            began = time.monotonic()
            self.stopped = run_jobs(jobs, engine, workers.stop, workers.bar, ended, deadline=workers.deadline)
            self._wave = (time.monotonic() - began) / waves
        for found in work:
            self._note_ends(found, ended)
        left = [job.name for job in jobs if ended.get(job.name, "interrupted") == "interrupted"]
        if self.stopped:
            self.why = "it was stopped"
        elif left:
            self.why = f"the budget ended before {listed(left, MOST_NAMED)}"
        return not self.why

    def scores(self, spec: int, seeds: int) -> SpecScores | None:
        """The scores of the first `seeds` seeds; None if one of them has no score.

        Raises SpecError if a score is not comparable with that of the first spec.
        """
        having = []
        for point in self._points([spec], seeds):
            run = self.run(point)
            if run is None or self.measure not in run.results:
                why = self.result.get(point.name, NOT_STARTED) if run is None else f"it has no {self.measure}"
                self.failures[spec] = f"{point.name}: {why}"
                return None
            having.append(run)
        for run in having:
            self._check_condition(run)
        return scores_of(having, self.measure, self._usual_seed)

    def look(self, batch: Batch, points: Sequence[Spec]) -> Work:
        """What is left to run of some points of a batch; takes note of their finished runs.

        Raises SpecError if the data of a run, finished or not, have changed, and that is not allowed.
        """
        request = self.seeded.request
        progress = Progress.look(batch.grid.points, request.out, self.folder)
        trainings = [
            training
            for training in trainings_of(batch.grid.points)
            if any(point in training for point in points)
        ]
        changed = changed_data(trainings, progress, self.folder, refuse=not request.allow_changed_data)
        runs = progress.finished.runs
        for training in trainings:
            self.trainings[training.first.name] = training
            for point in training.points:
                before = f"finished before{', with other data' if point.name in changed else ''}"
                self.result.setdefault(point.name, before if point.name in runs else NOT_STARTED)
                self.done |= {point.name: runs[point.name]} if point.name in runs else {}
        left = [
            training for training in trainings if any(point.name not in runs for point in training.points)
        ]
        return Work(tuple(points), tuple(left), tuple(jobs_left(batch.request, left, progress, self.folder)))

    def run(self, point: Spec) -> Run | None:
        """The finished run of a point; None if there is none."""
        path = self.done.get(point.name)
        if path is None:
            return None
        if path not in self._read:
            self._read[path] = read_run(path)
        return self._read[path]

    def at_once(self, jobs: int) -> int:
        """How many of so many jobs are likely to run at the same time."""
        if self.workers.engine == "local":
            return len(slots(jobs, self.workers.jobs, self.seeded.request.device)) or 1
        return self.workers.jobs or jobs or 1

    def seconds(self) -> list[float]:
        """How long each finished run with a training of its own has taken."""
        folders = [RunFolder(path) for path in self.done.values()]
        statuses = [folder.status() for folder in folders if folder.shared is None]
        return [status["seconds"] for status in statuses if status and status.get("seconds", 0) > 0]

    def remarks(self) -> list[str]:
        """Lines on why the runs ended early, on failed runs, and on unstable ones."""
        unstable = [run.name for run in self._read.values() if run.was_unstable]
        return [
            *([f"not continued: {self.why}. The same command continues."] if self.why else []),
            *(f"{self.seeded.names[spec]} is not settled: {why}" for spec, why in self.failures.items()),
            *(f"{name} was unstable: its spec is judged by its own spread over seeds" for name in unstable),
        ]

    def _points(self, specs: Sequence[int], seeds: int) -> list[Spec]:
        return [self.seeded.point(spec, seed) for seed in self.order[:seeds] for spec in specs]

    def _missing(self, specs: Sequence[int], seeds: int) -> list[tuple[Batch, list[Spec]]]:
        """The points without a finished run that have not failed, by batch."""
        missing: dict[int, tuple[Batch, list[Spec]]] = {}
        for point in self._points(specs, seeds):
            if point.name not in self.done and self.result.get(point.name, NOT_STARTED) == NOT_STARTED:
                batch = self.seeded.batch(point.seed)
                missing.setdefault(id(batch), (batch, []))[1].append(point)
        return list(missing.values())

    def _note_ends(self, work: Work, ended: Mapping[str, str]) -> None:
        """Take note of how the jobs of a batch have ended."""
        before = {name: self.result[name] for name in self.done}
        self.result |= {job.name: ended[job.name] for job in work.jobs if job.name in ended}
        points = [point for training in work.trainings for point in training.points]
        done = finished_runs(points, self.seeded.request.out)
        set_statuses(work.trainings, done, self.folder, self.result)
        self.result |= before  # the first point of a training has a command even if only others are left
        self.done |= done

    def _forecast(self, waves: int) -> float | None:
        """The seconds of jobs that start in so many waves; None if nothing is known about them."""
        known = [self._wave] if self._wave is not None else self.seconds()
        return fmean(known) * waves if known else None

    def _does_not_fit(self, jobs: int, waves: int) -> bool:
        """Whether no time is left for so many jobs; `why` then says so."""
        left, needed = self.workers.deadline - time.monotonic(), self._forecast(waves)
        if left <= 0:
            self.why = "the budget is used up"
        elif needed is not None and needed > left:
            runs = "another run" if jobs == 1 else f"{jobs} more runs"
            self.why = f"{runs} would take about {roughly(needed)}; the budget has {roughly(left)} left"
        return bool(self.why)

    def _say_what_starts(self, seeds: Sequence[int], jobs: int, waves: int) -> None:
        runs = "1 run" if jobs == 1 else f"{jobs} runs"
        listed_seeds = [str(seed) for seed in dict.fromkeys(seeds)]
        which = f"{'seed' if len(listed_seeds) == 1 else 'seeds'} {listed(listed_seeds, MOST_NAMED)}"
        needed = self._forecast(waves)
        about = "" if needed is None else f", about {roughly(needed)}"
        self.workers.bar.say(
            f"{self.seeded.grid.name}: {runs} with {which}{about}, output in {self.folder}/*.log"
        )

    def _check_condition(self, run: Run) -> None:
        """Raise SpecError if a run's score is not comparable with those that were read before."""
        result = run.results[self.measure]
        if self._reference is None:
            self._reference = run
        first = self._reference
        if result.condition_key != first.results[self.measure].condition_key:
            why = mismatch(result.condition, first.results[self.measure].condition)
            text = f"{self.measure} of {run.name} is not comparable with that of {first.name}: {why}"
            raise SpecError(text, field="--until-settled")
