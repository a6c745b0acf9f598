"""The data that a run was made with: what its folder records of them, and whether the present ones are the same."""

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
    """One data set as `environment.json` describes it."""

    name: str
    fingerprint: str
    counts: Mapping[str, int]
    """Images in each split that there is."""
    classes: tuple[str, ...] | None = None
    shape: tuple[int, int] | None = None
    """Channels and pixels on a side; None in folders that were written before it was recorded."""

    @classmethod
    def from_data(cls, data: Data) -> DataRecord:
        """What is recorded of data that are loaded."""
        return cls(data.name, data.fingerprint, data.counts, data.classes, (data.channels, data.size))

    @classmethod
    def parse(cls, written: object) -> DataRecord | None:
        """The record in a block of JSON; None where it has no fingerprint, as in an imported run, or is damaged."""
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
        """The block that `parse` reads."""
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
    """The data that the run was last trained with."""
    return DataRecord.parse(folder.environment().get("data"))


def earlier_data(environment: Environment) -> list[tuple[int, DataRecord]]:
    """The data sets that a run used before the present one, each with the last step that was trained with it."""
    written = environment.get("data_before")
    blocks = [block for block in written if isinstance(block, dict)] if isinstance(written, list) else []
    found = [(block.get("until_step"), DataRecord.parse(block)) for block in blocks]
    return [(step, record) for step, record in found if isinstance(step, int) and record is not None]


def changed_at(environment: Environment) -> int:
    """The last step that was trained with other data than the present; −1 where all were trained with these."""
    return max((step for step, _ in earlier_data(environment)), default=-1)


def fingerprint_of(event: Event, environment: Environment) -> str | None:
    """The fingerprint of the data that an event of metrics.jsonl was measured with, as far as it is recorded."""
    record = DataRecord.parse(event.get("data"))
    if record is None:
        later = [old for until, old in earlier_data(environment) if event.get("step", 0) <= until]
        record = later[0] if later else DataRecord.parse(environment.get("data"))
    return record.fingerprint if record else None


def data_changes(environment: Environment) -> list[str]:
    """A sentence for each change of the data within a run."""
    records = [record for _, record in earlier_data(environment)] + [
        DataRecord.parse(environment.get("data"))
    ]
    return [
        f"the data changed after step {step:,}: {old} before, {new or 'unknown'} since"
        for (step, old), new in zip(earlier_data(environment), records[1:], strict=True)
    ]


def difference(folder: RunFolder, present: DataRecord) -> str:
    """How the present data differ from the run's, in words; empty where they do not or the run recorded none."""
    had = recorded_data(folder)
    if had is None or had.fingerprint == present.fingerprint:
        return ""
    return f"the data of the run {shortened(str(folder.path))} were {had}, and are now {present}"


def refuse_changed(spec: Spec, folder: RunFolder, present: DataRecord, hint: str) -> None:
    """Raises SpecError, placed at the data set, that names both where the present data are not the run's."""
    what = difference(folder, present)
    if what:
        raise spec.error("dataset", what, hint=hint)


def without_images(folder: RunFolder) -> Data | None:
    """Shape and classes of the run's images, for work that looks at none; None where the folder does not record them."""
    record = recorded_data(folder)
    if record is None or record.shape is None:
        return None
    return Shape(*record.shape, name=record.name, classes=record.classes)


class PresentData:
    """The data that specs name, as they are now; each data set is loaded once."""

    def __init__(self) -> None:
        self._known: dict[str, DataRecord] = {}

    def load(self, spec: Spec) -> DataRecord:
        """Raises SpecError where they are not there."""
        key = json.dumps(spec.resolved()["dataset"], sort_keys=True)
        if key not in self._known:
            with spec.blame("dataset"):
                self._known[key] = DataRecord.from_data(spec.dataset.load(Path.cwd()))
        return self._known[key]


def _is_count(value: object, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
