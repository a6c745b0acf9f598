"""The interface of trackers, which receive copies of the events in a run's `metrics.jsonl`."""

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
from ..text import floor_compares, setting

Event = Mapping[str, Any]
"""One line of metrics.jsonl; `event["event"]` is its type."""


class TrackerSession(Protocol):
    """A tracker that follows one run. All its methods are called from one thread, which is not the run's."""

    def log(self, event: Event) -> None:
        """Record one event. The files it names are relative to the run's folder."""

    def close(self, status: str) -> None:
        """End the session. The run is `finished`, `interrupted` or `failed`; its report is written."""


class Tracker(Component):
    """Base of all trackers: override `open`."""

    contract: ClassVar[Contract] = {
        "open": lambda _, arguments, session: has(session, "a session", "log", "close")
    }

    def check(self) -> None:
        """Called before a run starts. Raises SpecError if the tracker cannot work, as without its package."""

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> TrackerSession:
        """Follow the run in `folder` with the resolved spec `config`; `resume` continues an old session."""
        raise NotImplementedError


NOT_CURVES = ("epoch", "step", "images", "samples", "seed", "passes")
"""Numbers of an event that give its time or what was measured how, and are not plotted."""
CHANGES = "changes"
"""Key that trackers' copies of an event have if its metrics were measured with other settings than those of
the run's spec: the dotted fields with their values."""


def scalars(event: Event) -> dict[str, float]:
    """The numbers of an event, by the names in trackers: `train/loss`, `epoch/val_loss`, `metrics/fd_cnn`."""
    group = {"step": "train"}.get(event["event"], event["event"])
    numbers = {
        key: value
        for key, value in event.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    curves = {f"{group}/{key}": float(value) for key, value in numbers.items() if key not in NOT_CURVES}
    return curves | {
        metric_name(event, name): float(value) for name, value in event.get("metrics", {}).items()
    }


def metric_name(event: Event, metric: str) -> str:
    """A metric's name in trackers: `metrics/fd_cnn`.

    With other settings than those of the run's spec, `others/fd_cnn (evaluate.sampler.steps 5)`.
    """
    changes: Mapping[str, object] = event.get(CHANGES) or {}
    # next to a component that has no more than its name, all parameters are told
    bare = [{"name": value.get("name")} for value in changes.values() if isinstance(value, Mapping)]
    words = ", ".join(f"{field} {setting(value, bare)}" for field, value in changes.items())
    return f"others/{metric} ({words})" if words else f"metrics/{metric}"


def intervals(event: Event) -> dict[str, float]:
    """The uncertainty of an event's scores, if known: `metrics/fid.low`, `.high`, `.n` and `.floor`.

    A floor that does not compare with the value, because it has fewer images, has their number in its name:
    `.floor_n90`.
    """
    numbers: dict[str, float] = {}
    for name, score in event.get("scores", {}).items():
        low, high = score.get("interval") or (None, None)
        floor = "floor" if floor_compares(score) else f"floor_n{score.get('floor_n', 0)}"
        facts = {"low": low, "high": high, "n": score.get("n"), floor: score.get("floor")}
        numbers |= {
            f"{metric_name(event, name)}.{key}": float(value)
            for key, value in facts.items()
            if isinstance(value, int | float)
        }
    return numbers


def flattened(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A resolved spec with dotted keys: `train.lr`; blocks in lists by index: `evaluate.metrics.0.name`."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        flat |= (
            flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return flat


def sample_grid_tag(event: Event) -> str:
    """The series of a sample grid. All epochs' grids are one series, which viewers show with a slider."""
    return "samples/final" if Path(event["path"]).stem == "final" else "samples/epochs"


def sample_grid_file(folder: Path, event: Event) -> Path:
    """The PNG that a `samples` event names. Raises SpecError if it is outside the run's folder or missing."""
    with suppress(OSError, ValueError, RuntimeError):  # an invalid name, or a link to itself
        root = folder.resolve()
        path = (root / str(event.get("path"))).resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    raise SpecError(
        f"metrics.jsonl names an image that is not a file in the run's folder: {event.get('path')!r}"
    )


def require(package: str, extra: str) -> ModuleType:
    """Import a package. Raises SpecError, which says how to install it, if it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        hint = f"pip install 'ddpmx[{extra}]'"
        raise SpecError(
            f"the tracker '{extra}' needs a package that is not installed: {error}", field="track", hint=hint
        ) from None
