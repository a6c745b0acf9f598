"""A measurement: one metric's value in metrics.jsonl, with all that determines it beside the run itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..spec.evaluation import GuidanceSpec, WeightsSpec
from ..trackers import CHANGES
from ..training.events import PASSES, Event, Picture, Score
from .history import MOST_METRICS, score
from .provenance import DataRecord
from .records import Environment, RunSpec

Block = Mapping[str, object]
MOST_OTHERS = 10_000
"""Most measurements with settings other than the spec's that are kept of a run."""
_FILE = re.compile(r"draws/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.safetensors")


@dataclass(frozen=True)
class Measurement:
    """One metric's value and its settings."""

    metric: str
    """The score's name, such as `fd_cnn`."""
    value: float
    """The measured number."""
    score: Score | None
    """Details recorded with the value; None in runs of early versions, which recorded none."""
    epoch: int
    """The epoch of the measured weights."""
    step: int
    """The training step of the measured weights."""
    samples: int
    """Number of generated images."""
    seed: int
    """Seed of the starting noise."""
    sampler: Block
    """The sampler's block."""
    guidance: Block
    """The guidance's block."""
    weights: Block
    """The block `weights`: checkpoint and ema_std. During training, the checkpoint is the step itself."""
    data: str | None
    """Fingerprint of the data, if it is not the run's."""
    block: Block
    """The metric's block, with its name and parameters: that of the spec where the event does not say, and
    empty if neither does."""
    changes: Mapping[str, object]
    """The fields in which the settings deviate from the run's spec; empty for the spec's own evaluation."""
    draws: str
    """File with the values behind the interval, relative to the run's folder; empty if there is none."""
    picture: Picture | None = None
    """Images to look at beside the value; None if there are none."""

    @property
    def better(self) -> str:
        """`lower` or `higher`."""
        # Runs of early versions have no details; their only metrics were is_cnn and fd_cnn.
        return self.score["better"] if self.score else "higher" if self.metric == "is_cnn" else "lower"

    @property
    def key(self) -> str:
        """A text that is equal for measurements of one run with equal settings."""
        return json.dumps([self.metric, *sorted(self.changes.items())], sort_keys=True)


def settings(event: Event, spec: RunSpec) -> dict[str, object]:
    """What an event with metrics was measured with, by dotted field.

    Where the event does not say, as in runs of earlier versions, the spec's settings held.
    """
    evaluate = spec["evaluate"]
    scores = event.get("scores") or {}
    seeds = [details["seed"] for details in scores.values()]
    own_weights = spec.get("weights") or WeightsSpec().model_dump(mode="json")
    own_guidance = {**GuidanceSpec().model_dump(mode="json"), **spec.get("guidance", {})}
    return {
        "evaluate.sampler": event.get("sampler", evaluate["sampler"]),
        "evaluate.samples": event.get("samples", evaluate["samples"]),
        "evaluate.seed": event.get("seed", seeds[0] if seeds else evaluate["seed"]),
        "guidance": event.get("guidance", own_guidance),
        "weights": event.get("weights", own_weights),
    }


class Measurements:
    """Reads a run's measurements from its events, one by one."""

    def __init__(self, spec: RunSpec, environment: Environment) -> None:
        self._spec, self._own_data = spec, DataRecord.parse(environment.get("data"))
        self._last_step = -1
        self._unlisted: dict[str, Block] = {}

    def of(self, event: Event) -> list[Measurement]:
        """The measurements of an event; none of another kind than `epoch` or `evaluate`."""
        kind = event["event"]
        if kind not in ("epoch", "evaluate"):
            return []
        during_training = kind == "epoch" or PASSES in event
        if kind == "epoch":
            self._last_step = event["step"]
        if not event["metrics"]:
            return []
        found = settings(event, self._spec)
        data = None if during_training else self._other_data(event)
        changes = self._changes(found, event["step"], during_training)
        if data is not None:
            changes["dataset"] = data
        return [
            Measurement(
                name,
                value,
                details := score(event, name),
                event["epoch"],
                event["step"],
                found["evaluate.samples"],  # type: ignore[arg-type]
                found["evaluate.seed"],  # type: ignore[arg-type]
                found["evaluate.sampler"],  # type: ignore[arg-type]
                found["guidance"],  # type: ignore[arg-type]
                found["weights"],  # type: ignore[arg-type]
                data,
                self._block(name, details),
                {**changes, **self._changed_metric(details)},
                file if _FILE.fullmatch(file := str(event.get("values", ""))) else "",
                event.get("pictures", {}).get(name),
            )
            for name, value in event["metrics"].items()
        ]

    def _block(self, metric: str, details: Score | None) -> Block:
        """The block of the metric that gave a score."""
        block = details.get("metric") if details else None
        if isinstance(block, Mapping):
            return block
        listed = self._spec["evaluate"].get("metrics", ())
        blocks = [own for own in listed if isinstance(own, Mapping)]
        return next((own for own in blocks if _gives(str(own.get("name")), metric)), {})

    def for_trackers(self, event: Event) -> Event:
        """The event, with the fields in which the settings of its metrics deviate from the run's spec."""
        changes: dict[str, object] = {}
        for measured in self.of(event):
            changes |= measured.changes
        return {**event, CHANGES: changes} if changes else event

    def _changes(self, found: Mapping[str, object], step: int, during_training: bool) -> dict[str, object]:
        """The fields in which settings deviate from the spec's own."""
        wanted = settings({"event": "evaluate"}, self._spec)
        changes: dict[str, object] = {}
        for field, value in found.items():
            if field == "weights":
                if self._are_own_weights(value, step, during_training):
                    continue
                # the spec asks for others than the training measures, each time as the last ones so far
                value = {"checkpoint": "last", "ema_std": None} if during_training else value
            elif during_training:
                continue
            changes |= _deviation(field, value, wanted[field])
        return changes

    def _are_own_weights(self, weights: object, step: int, during_training: bool) -> bool:
        """Whether the weights are the run's average at the end of its training, or so far.

        They stand for the run as `best` and `last` do, unless its spec asks for other weights.
        """
        own = self._spec.get("weights")
        if own and (own["ema_std"] is not None or isinstance(own["checkpoint"], int)):
            return False
        at_step = weights == {"checkpoint": step, "ema_std": None}
        return during_training or (at_step and step == self._last_step)

    def _other_data(self, event: Event) -> str | None:
        """The fingerprint of the data that the event was measured on; None if they are the run's."""
        data = DataRecord.parse(event.get("data"))
        if data is None or self._own_data is None or data.fingerprint == self._own_data.fingerprint:
            return None
        return data.fingerprint

    def _changed_metric(self, details: Score | None) -> dict[str, object]:
        """The metric's block, if the spec has the metric with other parameters.

        For a metric that the spec lacks, the parameters of its first measurement count as the spec's.
        """
        block = details.get("metric") if details else None
        metrics = self._spec["evaluate"].get("metrics", ())
        listed = [own for own in metrics if isinstance(own, Mapping)]
        if not isinstance(block, Mapping):
            return {}
        if all(own.get("name") != block.get("name") for own in listed):
            listed = [self._unlisted.setdefault(str(block.get("name")), block)]
        same = any(own.get("name") == block.get("name") and not _deviation("", block, own) for own in listed)
        return {} if same else {"evaluate.metrics": block}


class LatestMeasurements:
    """The last finite measurement with each setting of each metric, from a run's events one by one."""

    def __init__(self, spec: RunSpec, environment: Environment) -> None:
        self._read = Measurements(spec, environment)
        self.own: dict[str, Measurement] = {}
        """Those with the settings of the run's spec, by metric."""
        self.others: dict[str, Measurement] = {}
        """All others, by key."""

    def add(self, event: Event) -> list[Measurement]:
        """Take in one more event; returns its measurements with the settings of the run's spec."""
        added = []
        for measured in self._read.of(event):
            if not math.isfinite(measured.value):
                continue
            if measured.changes:
                if measured.key in self.others or len(self.others) < MOST_OTHERS:
                    self.others[measured.key] = measured
            elif measured.metric in self.own or len(self.own) < MOST_METRICS:
                self.own[measured.metric] = measured
                added.append(measured)
        return added


def _gives(name: str, score_name: str) -> bool:
    """Whether a metric gives a score of this name, which starts with the metric's own."""
    return score_name == name or score_name.startswith((f"{name}_", f"{name}."))


def _deviation(field: str, value: object, wanted: object) -> dict[str, object]:
    """The dotted fields of a block, or the value, that deviate from the wanted ones.

    A component of another name is one field. Keys that the wanted block lacks are newer than its spec.
    """
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        if value.get("name") != wanted.get("name"):
            return {field: value}
        return {f"{field}.{key}": value[key] for key in value if key in wanted and value[key] != wanted[key]}
    return {} if value == wanted else {field: value}
