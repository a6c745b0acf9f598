"""The data that a run was trained on: what its folder records of it, and whether today's data is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ..data import Data
from ..data.no_images import MAX_CHANNELS, MAX_SIZE, Shape
from ..spec.schema import Spec
from ..text import shortened
from ..training.events import Event
from .folder import RunFolder
from .records import Environment

SPLITS = ("train", "validation", "test")
ALLOW = "--allow-changed-data"


@dataclass(frozen=True)
class DataRecord:
    """One data set as described in `environment.json`."""

    name: str
    """The dataset component's name."""
    fingerprint: str
    """A hash of the images and labels."""
    counts: Mapping[str, int]
    """Number of images in each split that exists."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; None if the data has no labels."""
    shape: tuple[int, int] | None = None
    """Channels, and pixels per side; None in runs of early versions, which did not record it."""

    @classmethod
    def from_data(cls, data: Data) -> DataRecord:
        """The record of loaded data."""
        return cls(data.name, data.fingerprint, data.counts, data.classes, (data.channels, data.size))

    @classmethod
    def parse(cls, written: object) -> DataRecord | None:
        """The record in a JSON block; None if it has no fingerprint, as in an imported run, or is damaged."""
        block = written if isinstance(written, dict) else {}
        fingerprint, classes = block.get("fingerprint"), block.get("classes")
        if not isinstance(fingerprint, str) or not fingerprint:
            return None
        names = (
            tuple(classes)
            if isinstance(classes, list) and all(isinstance(name, str) for name in classes)
            else None
        )
        counts = {split: block[split] for split in SPLITS if _is_count(block.get(split), 10**12)}
        channels, size = block.get("channels", 0), block.get("size", 0)
        shape = (channels, size) if _is_count(channels, MAX_CHANNELS) and _is_count(size, MAX_SIZE) else None
        return cls(str(block.get("name")), fingerprint, counts, names, shape)

    def to_json(self) -> dict[str, object]:
        """A JSON block that `parse` can read."""
        shape = {} if self.shape is None else {"channels": self.shape[0], "size": self.shape[1]}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "classes": self.classes,
            **self.counts,
            **shape,
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        return shortened(f"{self.name} {self.fingerprint} ({counts})")


def recorded_data(folder: RunFolder) -> DataRecord | None:
    """The data that the run was last trained on; None if that is not recorded."""
    return DataRecord.parse(folder.environment().get("data"))


def earlier_data(environment: Environment) -> list[tuple[int, DataRecord]]:
    """Data sets that the run used before its current one, each with the last step trained on it."""
    written = environment.get("data_before")
    blocks = [block for block in written if isinstance(block, dict)] if isinstance(written, list) else []
    records = [(block.get("until_step"), DataRecord.parse(block)) for block in blocks]
    return [(step, record) for step, record in records if isinstance(step, int) and record is not None]


def changed_at(environment: Environment) -> int:
    """The last step trained on other data than the run's current data; −1 if the data never changed."""
    return max((step for step, _ in earlier_data(environment)), default=-1)


def fingerprint_of(event: Event, environment: Environment) -> str | None:
    """The fingerprint of the data that an event of metrics.jsonl was measured on; None if not recorded."""
    record = DataRecord.parse(event.get("data"))
    if record is None:
        later = [old for until, old in earlier_data(environment) if event.get("step", 0) <= until]
        record = later[0] if later else DataRecord.parse(environment.get("data"))
    return record.fingerprint if record else None


def data_changes(environment: Environment) -> list[str]:
    """One sentence for each change of the data during a run."""
    records = [record for _, record in earlier_data(environment)] + [
        DataRecord.parse(environment.get("data"))
    ]
    return [
        f"the data changed after step {step:,}: {old} before, {new or 'unknown'} afterwards"
        for (step, old), new in zip(earlier_data(environment), records[1:], strict=True)
    ]


def difference(folder: RunFolder, present: DataRecord) -> str:
    """How the present data differs from the run's, in words.

    Empty if it does not or the run recorded none.
    """
    before = recorded_data(folder)
    if before is None or before.fingerprint == present.fingerprint:
        return ""
    return f"the run {shortened(str(folder.path))} was trained on {before}, but the data is now {present}"


def refuse_changed(spec: Spec, folder: RunFolder, present: DataRecord, hint: str) -> None:
    """Raise SpecError at the field `dataset` if the present data is not the run's; the message names both."""
    problem = difference(folder, present)
    if problem:
        raise spec.error("dataset", problem, hint=hint)


def without_images(folder: RunFolder) -> Data | None:
    """Shape and classes of the run's data, for work that needs no images; None if they are not recorded."""
    record = recorded_data(folder)
    if record is None or record.shape is None:
        return None
    return Shape(*record.shape, name=record.name, classes=record.classes)


class PresentData:
    """The data sets that specs name, in their present state; each is loaded once."""

    def __init__(self) -> None:
        self._known: dict[str, DataRecord] = {}

    def load(self, spec: Spec) -> DataRecord:
        """The record of the spec's data. Raises SpecError if the data cannot be loaded."""
        key = json.dumps(spec.resolved()["dataset"], sort_keys=True)
        if key not in self._known:
            with spec.blame("dataset"):
                self._known[key] = DataRecord.from_data(spec.dataset.load(Path.cwd()))
        return self._known[key]


def _is_count(value: object, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
