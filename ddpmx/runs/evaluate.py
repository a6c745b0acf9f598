"""The `evaluate` command: measures existing runs, with their own settings or a grid of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import ops, outputs
from ..components.registry import SAMPLERS
from ..errors import RunError, SpecError
from ..spec import values
from ..spec.loading import Override, option
from ..spec.over import evaluations, over_changes
from ..spec.schema import Spec
from ..terminal.console import Bar, say
from ..text import facts_in_words, shortened
from ..training.events import Event
from .grid import Grid
from .opening import OpenedRun, RunData, open_run
from .preflight import metric_notes

Show = Callable[[Event], None]
"""Called with each measurement as soon as it is stored."""


@dataclass(frozen=True)
class EvaluateRequest:
    """What to measure of a run."""

    samples: int | None = None
    """Images to generate. None: the spec's `evaluate.samples`."""
    metrics: Sequence[str] = ()
    """Names of metrics; by default the spec's."""
    over: Sequence[str] | Mapping[str, Sequence[object]] = ()
    """Fields with the values to measure every combination of, instead of the spec's own; as text
    FIELD=V1,V2,…"""
    overrides: Sequence[Override] = ()
    """Changes of the spec."""
    allow_changed_data: bool = False
    """Whether to measure even if the run's data have changed since."""

    def changes(self) -> list[Override]:
        """All options as changes of the spec."""
        changes: list[Override] = [*self.overrides]
        if self.samples is not None:
            changes.append(option("-n", self.samples, "evaluate.samples", self.samples))
        if self.metrics:
            changes.append(
                option("--metrics", ",".join(self.metrics), "evaluate.metrics", list(self.metrics))
            )
        if isinstance(self.over, Mapping):
            return changes + values.over_changes(self.over)
        return changes + over_changes(self.over)


def evaluate(
    run: Path, request: EvaluateRequest, *, device: torch.device, show: Show = lambda event: None
) -> list[Event]:
    """Measure a run, add an `evaluate` event for each measurement, and rewrite its report.

    Without `over`, the spec's own evaluation is measured again. Combinations that were measured before are
    not measured again. Raises SpecError for what cannot be measured here, and RunError if a metric failed;
    the other scores are then stored.
    """
    from ..pages.report import write_report  # imported late: slow to load, and not needed when a run starts

    needed = RunData.ANY if request.allow_changed_data else RunData.SAME
    opened = open_run(run, request.changes(), device, data=needed)
    spec = opened.spec
    grid = evaluations(spec)
    own = [] if request.over else [spec]
    for each in own + grid:
        check_metrics(each)
    for note in metric_notes(spec, opened.experiment.data):
        say(f"note: {note}")
    for name in ("metrics.jsonl", "report.html"):
        outputs.check(opened.folder.path / name, "RUN")
    problems: list[str] = []
    events: list[Event] = []
    try:
        for event in _measured(opened, own, grid, problems.append):
            events.append(event)
            show(event)
    finally:
        if events:
            write_report(run)
    if not events:
        raise RunError("; ".join(dict.fromkeys(problems)))
    if problems:
        stored = dict.fromkeys(name for event in events for name in event["metrics"])
        text = "; ".join(dict.fromkeys(problems))
        raise RunError(f"{text}; the other scores are stored: {', '.join(stored)}")
    return events


def _measured(
    opened: OpenedRun, own: list[Spec], grid: list[Spec], warn: Callable[[str], None]
) -> Iterator[Event]:
    """The events of the spec's own evaluation, which is measured anew, and of the grid."""
    measured = Grid(opened.folder, opened.experiment, opened.experiment.network)
    with ops.use_backend(opened.spec.backend), Bar() as bar:
        yield from measured.measure(own, warn, bar.show, strict=True, again=True)
        yield from measured.measure(grid, warn, bar.show, strict=True)


def check_metrics(spec: Spec) -> None:
    """Raise SpecError if the spec has no metrics, or one that cannot be computed on this machine."""
    if not spec.evaluate.metrics:
        hint = "name some: --metrics fd_cnn,is_cnn"
        raise SpecError("the run's spec has no metrics", field="evaluate.metrics", hint=hint)
    for index, metric in enumerate(spec.evaluate.metrics):
        if metric.missing():
            problem = f"'{metric.component_name}' cannot be computed on this machine: {metric.missing()}"
            raise spec.error(f"evaluate.metrics.{index}", problem)


def lines_of(event: Event, *, settings: bool) -> list[str]:
    """A line for each score of a measurement; with `settings`, also what it was measured with."""
    about = f"{event['samples']} samples, step {event['step']}"
    if settings:
        sampler, weights = event["sampler"], event["weights"]
        about += f", {_sampler_in_words(sampler)}"
        about += f", seed {event['seed']}"
        about += "" if weights["ema_std"] is None else f", ema_std {weights['ema_std']:g}"
        about += f", guidance {event['guidance']['weight']:g}" if "guidance" in event else ""
    beside = {name: facts_in_words(event["scores"][name].get("facts", {})) for name in event["metrics"]}
    width = max(12, 1 + max(map(len, event["metrics"])))
    return [
        f"{name:<{width}}{value:.6g}   ({', '.join(filter(None, (about, beside[name])))})"
        for name, value in event["metrics"].items()
    ]


def _sampler_in_words(block: Mapping[str, object]) -> str:
    """A sampler's name, its steps or timesteps, and its other parameters that are not the defaults."""
    steps, timesteps = block.get("steps"), block.get("timesteps")
    words = str(block["name"]) + (f" in {steps} steps" if steps and not timesteps else "")
    if isinstance(timesteps, list | tuple):
        words += f" at {', '.join(f'{t:g}' for t in timesteps)}"
    defaults = SAMPLERS.get(str(block["name"])).model_fields
    others = {key: value for key, value in block.items() if key not in ("name", "steps", "timesteps")}
    changed = [f"{key} {value}" for key, value in others.items() if value != defaults[key].get_default()]
    return shortened(" ".join([words, *changed]))
