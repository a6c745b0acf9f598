"""`log.csv`: a row for each epoch and for each evaluation within an epoch, derived from `metrics.jsonl`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..files import open_regular
from ..training.events import Event, is_row
from .atomic import atomically
from .event_log import EventLog

COLUMNS = ("epoch", "step", "train_loss", "val_loss")
"""The first columns; a column for each metric follows."""
LAST_COLUMNS = ("seconds", "images_per_second")
"""The columns after the metrics."""
MOST_HEADER = 100_000
"""Most bytes of the first line that are read."""


class RowLog:
    """The rows of a run's log.csv."""

    def __init__(self, path: Path, events: EventLog) -> None:
        self.path, self._events = path, events

    def add(self, row: Event) -> None:
        """Append an event's row. If it has a metric without a column, the whole file is written again."""
        columns = self._columns()
        if columns and row["metrics"].keys() <= set(columns):
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_csv(_cells(row, columns)))
        else:
            self.write()

    def write(self) -> None:
        """Write the file from the events that have a row."""
        names = dict.fromkeys(name for row in self._rows() for name in row["metrics"])  # by first appearance
        columns = [*COLUMNS, *names, *LAST_COLUMNS]
        with atomically(self.path) as file:
            file.write(_csv(columns))
            file.writelines(_csv(_cells(row, columns)) for row in self._rows())

    def _rows(self) -> Iterator[Event]:
        return filter(is_row, self._events.read("epoch", "evaluate"))

    def _columns(self) -> list[str]:
        """The file's columns; none if there is no such file, or if it does not start with COLUMNS."""
        if not self.path.exists():
            return []
        with open_regular(self.path) as file:
            line = file.readline(MOST_HEADER).decode("utf-8", "replace")
        try:
            columns = next(csv.reader([line]), [])
        except csv.Error:
            return []
        return columns if columns[: len(COLUMNS)] == list(COLUMNS) and line.endswith("\n") else []


def _cells(row: Event, columns: Iterable[str]) -> list[str]:
    values = {**row["metrics"], **{key: row.get(key) for key in (*COLUMNS, *LAST_COLUMNS)}}
    return ["" if values.get(column) is None else repr(values[column]) for column in columns]


def _csv(row: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
