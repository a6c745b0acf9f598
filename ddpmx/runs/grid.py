"""Measures trained weights with several settings, each once: what is in the log is not measured again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ..metrics.subject import Progress
from ..spec.evaluation import WeightsSpec
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.folder import RunFolder
from ..storage.provenance import DataRecord
from ..terminal.console import to_json
from ..training.events import Event
from ..training.experiment import Experiment, check_data
from ..world import World
from .measure import Warn, measure, recorded, settings_of
from .opening import choose_weights

IDENTITY = ("step", "ema_std", "samples", "seed", "sampler", "guidance", "fingerprint")
"""What determines a measurement, together with the blocks of its metrics."""


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
        training is copied into an event of its own. `warn` and `strict` are those of `measure`. Raises
        SpecError for weights that the run does not have.
        """
        loaded: WeightsSpec | None = None
        for done, spec in enumerate(specs):
            experiment = replace(self.experiment, spec=spec)
            check_data(spec, experiment.data)
            with spec.blame("weights", "evaluate.over"):
                file, step = choose_weights(self.folder.path, spec.weights)
            event = self._known(experiment, step) if self.world.is_main and not again else None
            if self.world.any(event is not None, experiment.device):
                if event is not None:
                    yield event
                continue
            if spec.weights != loaded:
                if self.world.is_main:
                    checkpoint.load_weights(self.network, file)
                for tensor in (*self.network.parameters(), *self.network.buffers()):
                    self.world.from_main(tensor.data)
                loaded = spec.weights
            progress("measurements", done, len(specs))
            scores = measure(
                experiment,
                self.network,
                warn,
                world=self.world,
                progress=progress,
                strict=strict,
                folder=self.folder.path,
            )
            if scores:
                event = self._start(step) | recorded(
                    experiment, scores, self.folder.path, step, training=False
                )
                self.folder.add_event(event)
                yield event

    def _start(self, step: int) -> Event:
        """The first keys of an event about the weights of a step."""
        rows = {row["step"]: row["epoch"] for row in self.folder.events("epoch")}
        epoch = rows.get(step, max((epoch for at, epoch in rows.items() if at <= step), default=0))
        return {"event": "evaluate", "epoch": epoch, "step": step}

    def _known(self, experiment: Experiment, step: int) -> Event | None:
        """The event in the log with this measurement; a copy if it was made during training."""
        wanted = _identity(
            settings_of(experiment)
            | {
                "step": step,
                "weights": experiment.spec.weights.model_dump(mode="json"),
                "data": DataRecord.from_data(experiment.data).to_json(),
            }
        )
        blocks = [_plain(metric.spec()) for metric in experiment.spec.evaluate.metrics]
        during_training: Event | None = None
        for event in self.folder.events("epoch", "evaluate"):
            if not event["metrics"] or "weights" not in event or _identity(event) != wanted:
                continue
            scores = {
                name: score
                for name, score in event.get("scores", {}).items()
                if _plain(score.get("metric")) in blocks
            }
            if {_plain(score["metric"]) for score in scores.values()} != {*blocks}:
                continue
            if event["event"] == "evaluate" and "passes" not in event:
                return event
            during_training = event | {"scores": scores}
        if during_training is None:
            return None
        keys = ("samples", "seed", "sampler", "guidance", "data", "values")
        event = self._start(step) | {
            "metrics": {name: score["value"] for name, score in during_training["scores"].items()},
            "scores": during_training["scores"],
            **{key: during_training[key] for key in keys if key in during_training},
            "weights": experiment.spec.weights.model_dump(mode="json"),
        }
        self.folder.add_event(event)
        return event


def _identity(event: Mapping[str, object]) -> str:
    """What an event was measured with, apart from the metrics, as a text."""
    weights, data = event.get("weights"), DataRecord.parse(event.get("data"))
    facts = {
        **event,
        "ema_std": weights.get("ema_std") if isinstance(weights, Mapping) else None,
        "fingerprint": data and data.fingerprint,
    }
    return _plain([facts.get(key) for key in IDENTITY])


def _plain(value: object) -> str:
    """A value as JSON text, so that tuples equal lists."""
    return json.dumps(json.loads(to_json(value)), sort_keys=True)
