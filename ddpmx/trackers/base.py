"""What every tracker is to a run: another place that its events go to. `metrics.jsonl` in the run's folder is the truth."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import has
from ..plugins.guard import Contract

Event = Mapping[str, Any]


class Session(Protocol):
    """A tracker that is following a run. All its methods are called in one thread, not the run's."""

    def log(self, event: Event) -> None:
        """One event of metrics.jsonl; the files it names are relative to the run's folder."""

    def close(self, status: str) -> None:
        """The run ended: `finished`, `interrupted` or `failed`. Its report is written."""


class Tracker(Component):
    """Base of all trackers: override `open`."""

    contract: ClassVar[Contract] = {
        "open": lambda _, given, session: has(session, "a session", "log", "close")
    }

    def check(self) -> None:
        """Raises SpecError when this tracker cannot work here, for want of its package; asked before a run begins."""

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> Session:
        """Follow the run in `folder`, whose resolved spec is `config`; `resume`: it has been followed before."""
        raise NotImplementedError


PLACES = ("epoch", "step", "images", "samples", "passes")
"""Numbers of an event that say when it was, or of how much, and are no curves."""


def scalars(event: Event) -> dict[str, float]:
    """The numbers of an event by the name that trackers show: `train/loss`, `epoch/val_loss`, `metrics/fd_cnn`."""
    group = {"step": "train"}.get(event["event"], event["event"])
    numbers = {
        key: value
        for key, value in event.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    found = {f"{group}/{key}": float(value) for key, value in numbers.items() if key not in PLACES}
    return found | {f"metrics/{name}": float(value) for name, value in event.get("metrics", {}).items()}


def intervals(event: Event) -> dict[str, float]:
    """What is known of the certainty of an event's scores: `metrics/fid.low`, `.high`, `.n` and `.floor`, as far as they are given."""
    found: dict[str, float] = {}
    for name, score in event.get("scores", {}).items():
        low, high = score.get("interval") or (None, None)
        facts = {"low": low, "high": high, "n": score.get("n"), "floor": score.get("floor")}
        found |= {
            f"metrics/{name}.{key}": float(value)
            for key, value in facts.items()
            if isinstance(value, int | float)
        }
    return found


def flattened(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A resolved spec with dotted keys: `train.lr`; blocks in lists by their place: `evaluate.metrics.0.name`."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        flat |= (
            flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return flat


def picture_tag(event: Event) -> str:
    """The epochs' grids are one series, which a slider goes through."""
    return "samples/final" if Path(event["path"]).stem == "final" else "samples/epochs"


def picture_file(folder: Path, event: Event) -> Path:
    """The picture that a `samples` event names. Raises SpecError unless it is a file of the run's folder, where links lead too."""
    with suppress(OSError, ValueError, RuntimeError):  # no name at all, or a link to itself
        root = folder.resolve()
        path = (root / str(event.get("path"))).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    raise SpecError(
        f"metrics.jsonl names a picture that is not a file of the run's folder: {event.get('path')!r}"
    )


def require(package: str, extra: str) -> ModuleType:
    """The package, or a SpecError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        hint = f"pip install 'ddpmx[{extra}]'"
        raise SpecError(
            f"the tracker '{extra}' needs a package that is not installed: {error}", field="track", hint=hint
        ) from None
