"""Tables for pandas, which is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..training.events import Event

if TYPE_CHECKING:
    import pandas

NESTED = ("sampler", "guidance", "weights")
"""Blocks of an event whose values become columns, such as `sampler.steps`."""


def frame(rows: Sequence[object], columns: Sequence[object] | None = None) -> pandas.DataFrame:
    """A DataFrame. Raises ImportError with what to install if there is no pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install 'ddpmx[pandas]'") from error
    return pandas.DataFrame(rows, columns=columns)


class Events(list[Event]):
    """Events of a run, oldest first, as its metrics.jsonl has them."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each event.

        A metric is a column of its name, with its interval in `NAME.low` and `NAME.high`; a setting is one
        such as `sampler.steps`. Lists and details of scores are left out. Raises ImportError without pandas.
        """
        return frame([_row(event) for event in self])

    def of(self, *kinds: str) -> Events:
        """The events of these kinds, such as `epoch`."""
        return Events(event for event in self if event["event"] in kinds)


def _row(event: Event) -> dict[str, object]:
    """The values of an event that fit into the cells of a row."""
    row = dict(_scalars(event.items()))
    for block in NESTED:
        if isinstance(event.get(block), Mapping):
            row |= {f"{block}.{key}": value for key, value in _scalars(event[block].items())}
    for name, value in event.get("metrics", {}).items():
        interval = event.get("scores", {}).get(name, {}).get("interval")
        row[name] = value
        row |= dict(zip((f"{name}.low", f"{name}.high"), interval or (), strict=False))
    return row


def _scalars(items: Iterable[tuple[str, object]]) -> Iterable[tuple[str, object]]:
    return ((key, value) for key, value in items if not isinstance(value, dict | list))
