"""`compare --csv-seeds`: a row for each run, for statistics elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from .comparison import Comparison
from .groups import Group
from .results import Result

NUMBERS = ("value", "low", "high", "epoch", "step", "n")
"""Names of a result's numbers; the first is the column of the measure itself."""


def to_csv_seeds(comparison: Comparison, groups: Sequence[Group]) -> str:
    """A row for each run, the groups in the order given; numbers in full, empty where there is none.

    `run` is the label of the run's group, as in `--csv`. A measure's `epoch` and `step` are those of the
    measured weights; `seconds` is the time of training.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = [
        measure if key == "value" else f"{measure}.{key}"
        for measure in comparison.measures
        for key in NUMBERS
    ]
    about = ["run", "name", "seed", "status", "folder"]
    writer.writerow([*about, *comparison.fields, *measured, "epochs", "steps", "seconds"])
    for group in groups:
        for run in group.runs:
            row: list[object] = [group.label, run.name, run.seed, run.status, run.path, *group.texts.values()]
            for measure in comparison.measures:
                row += _numbers(run.results.get(measure))
            steps = run.history.columns["step"]
            row += [run.history.epochs, int(steps[-1]) if steps else None, run.history.seconds]
            writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def _numbers(result: Result | None) -> list[object]:
    """A result's numbers under the names NUMBERS."""
    if result is None:
        return [None] * len(NUMBERS)
    low, high = result.estimate.interval or (None, None)
    return [result.estimate.value, low, high, result.epoch, result.step, result.condition.get("n")]
