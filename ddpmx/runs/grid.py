"""Measures trained weights with several settings, each once: what is in the log is not measured again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from ..metrics.subject import Progress
from ..spec.evaluation import WeightsSpec
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.folder import RunFolder
from ..storage.provenance import DataRecord
from ..training.events import PASSES, Event
from ..training.experiment import Experiment, check_data
from ..world import World
from .measure import Warn, files_of, measure, recorded, settings_of
from .measurements import plain
from .opening import choose_weights

IDENTITY = ("step", "ema_std", "samples", "seed", "sampler", "guidance", "fingerprint")
"""What determines a measurement, together with the blocks of its metrics."""
SETTINGS = ("samples", "seed", "sampler", "guidance", "data", "values", "pictures")
"""Keys of an event that a copy of its measurement keeps."""


@dataclass(frozen=True)
class Grid:
    """A trained run that is measured with several settings."""

    folder: RunFolder
    """The run's folder; each measurement becomes an `evaluate` event of its log."""
    experiment: Experiment
    """The run's experiment."""
    network: nn.Module
    """The network that the weights are loaded into."""
    world: World = field(default_factory=World)
    """The processes that generate the images; the main one writes."""

    @cached_property
    def log(self) -> Log:
        """The measurements in the run's log, which is read once."""
        return Log(self.folder)

    def measure(
        self,
        specs: Sequence[Spec],
        warn: Warn,
        progress: Progress,
        *,
        strict: bool = False,
        again: bool = False,
    ) -> Iterator[Event]:
        """The event with each spec's measurement; none if no metric worked. Only the main process has any.

        A measurement that is in the log is not repeated unless `again`; one that the run made during its
        training, or of the same weights under another name (`best` may be `last`), is copied into an event of
        its own. `warn` and `strict` are those of `measure`. Raises SpecError for weights that the run does
        not have.
        """
        loaded: WeightsSpec | None = None
        log = self.log if self.world.is_main else None
        chosen = [self._weights(spec) for spec in specs]  # before anything is measured
        for done, (spec, (file, step)) in enumerate(zip(specs, chosen, strict=True)):
            if len(specs) > 1:
                progress("measurements", done, len(specs))
            experiment = replace(self.experiment, spec=spec)
            known = log.find(experiment, step) if log is not None and not again else None
            if self.world.any(known is not None, experiment.device):
                if known is not None:
                    yield known
                continue
            if spec.weights != loaded:
                if self.world.is_main:
                    checkpoint.load_weights(self.network, file)
                for tensor in (*self.network.parameters(), *self.network.buffers()):
                    self.world.from_main(tensor.data)
                loaded = spec.weights
            scores = measure(
                experiment,
                self.network,
                warn,
                world=self.world,
                progress=progress,
                strict=strict,
                folder=self.folder.path,
            )
            if scores and log is not None:
                measured = recorded(experiment, scores, self.folder.path, step, training=False)
                try:
                    event = log.add(step, measured)
                except OSError:  # a full disk: no event names the files
                    for name in files_of(measured):
                        (self.folder.path / name).unlink(missing_ok=True)
                    raise
                yield event

    def _weights(self, spec: Spec) -> tuple[Path, int]:
        """The file and the step of a spec's weights, after checking its metrics against the data."""
        check_data(spec, self.experiment.data)
        with spec.blame("weights", "evaluate.over"):
            return choose_weights(self.folder.path, spec.weights)


class Log:
    """The measurements in a run's log, by what was measured."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._epochs: dict[int, int] = {}
        self._measured: dict[str, list[Event]] = {}
        for event in folder.events("epoch", "evaluate"):
            if event["event"] == "epoch":
                self._epochs[event["step"]] = event["epoch"]
            if event["metrics"] and "weights" in event:
                self._measured.setdefault(_identity(event), []).append(event)

    def find(self, experiment: Experiment, step: int) -> Event | None:
        """The event with a measurement of a spec's weights, which are those of a step.

        A new copy, if the training measured them or they were measured under another name.
        """
        weights = experiment.spec.weights.model_dump(mode="json")
        data = DataRecord.from_data(experiment.data).to_json()
        wanted = settings_of(experiment) | {"step": step, "weights": weights, "data": data}
        blocks = {plain(metric.spec()) for metric in experiment.spec.evaluate.metrics}
        copy: Event | None = None
        for event in self._measured.get(_identity(wanted), ()):
            scores = {
                name: score
                for name, score in event.get("scores", {}).items()
                if plain(score.get("metric")) in blocks
            }
            if {plain(score["metric"]) for score in scores.values()} != blocks:
                continue
            if event["event"] == "evaluate" and PASSES not in event and event["weights"] == weights:
                return event
            values = {name: score["value"] for name, score in scores.items()}
            copy = {key: event[key] for key in SETTINGS if key in event}
            copy |= {"metrics": values, "scores": scores, "weights": weights}
        return None if copy is None else self.add(step, copy)

    def add(self, step: int, measured: Event) -> Event:
        """Append an `evaluate` event with a measurement of the weights of a step; returns it."""
        epoch = max((epoch for at, epoch in self._epochs.items() if at <= step), default=0)
        event = {"event": "evaluate", "epoch": epoch, "step": step, **measured}
        self._folder.add_event(event)
        self._measured.setdefault(_identity(event), []).append(event)
        return event


def _identity(event: Mapping[str, object]) -> str:
    """What an event was measured with, apart from the metrics, as a text."""
    weights, data = event.get("weights"), DataRecord.parse(event.get("data"))
    facts = {
        **event,
        "ema_std": weights.get("ema_std") if isinstance(weights, Mapping) else None,
        "fingerprint": data and data.fingerprint,
    }
    return plain([facts.get(key) for key in IDENTITY])
