"""The content of a comparison's table for a paper, before it becomes Markdown or LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from ..text import number
from ..theory.estimate import amount
from .comparison import Comparison
from .groups import Group, Standing

MOST_FIELDS = 4
"""Most fields that have a column; of more, a second table lists what differs from the baseline."""
MISSING = "–"
"""Text of a cell without a result."""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    heading: str
    """Its heading, such as `fd_cnn ↓`."""
    is_number: bool = False
    """Whether its cells are numbers, which are aligned to the right."""


@dataclass(frozen=True)
class Cell:
    """A cell of the table."""

    text: str
    """Its text, not escaped."""
    is_bold: bool = False
    """Whether it is a value that has won."""
    footnote: str = ""
    """The letters of its footnote; empty for none."""


@dataclass(frozen=True)
class PaperTable:
    """A table with everything that a reader needs to understand it."""

    title: str
    """A phrase such as `3 specs compared`."""
    columns: list[Column]
    """At least one."""
    rows: list[list[Cell]]
    """A row for each group, with a cell for each column."""
    notes: list[str]
    """Sentences on how to read the values."""
    footnotes: dict[str, str]
    """Text of each footnote, by its letters."""
    differences: list[tuple[str, str]]
    """(label, what differs from the baseline) of each group; empty if the columns or labels say it."""
    baseline: str
    """The label of the baseline."""


def paper_table(comparison: Comparison, groups: Sequence[Group]) -> PaperTable:
    """The table with the groups in the order given; columns that say nothing are left out."""
    footnotes = _footnotes(comparison, groups)
    columns: dict[Column, list[Cell]] = {
        Column(heading, all(map(_is_number, texts))): [Cell(text) for text in texts]
        for heading, texts in _specs(comparison, groups).items()
    }
    for measure in comparison.measures:
        heading = Column(f"{measure} {comparison.arrow(measure)}", is_number=True)
        columns[heading] = [_cell(group.standings.get(measure), footnotes) for group in groups]
    told = all(_labels_tell(groups, path) for path in comparison.fields)
    return PaperTable(
        f"{len(groups)} specs compared" if len(groups) > 1 else "Results of one spec",
        list(columns),
        [list(row) for row in zip(*columns.values(), strict=True)],
        list(_notes(comparison)),
        {letters: f"not ranked: {mark}" for mark, letters in footnotes.items()},
        [] if told or _has_room(comparison) else list(_differences(comparison, groups)),
        comparison.baseline.label,
    )


def _specs(comparison: Comparison, groups: Sequence[Group]) -> dict[str, list[str]]:
    """Columns that describe the specs, by heading: labels, fields, status and number of seeds.

    Each only if it adds to the others: labels that are made of the fields are left out, or a field that the
    labels contain.
    """
    untold = [path for path in comparison.fields if not _labels_tell(groups, path)]
    unnamed = _has_room(comparison) and bool(comparison.fields) and not untold
    paths = comparison.fields if unnamed else untold if _has_room(comparison) else ()
    columns = {} if unnamed else {"run": [group.label for group in groups]}
    columns |= {
        heading: [group.texts[path] for group in groups] for path, heading in _headings(paths).items()
    }
    if any(group.status != "finished" for group in groups):
        columns["status"] = [group.status for group in groups]
    seeds = [str(len({run.seed for run in group.runs})) for group in groups]
    return columns if set(seeds) == {"1"} else {**columns, "seeds": seeds}


def _has_room(comparison: Comparison) -> bool:
    """Whether each field gets a column."""
    return len(comparison.fields) <= MOST_FIELDS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels_tell(groups: Sequence[Group], path: str) -> bool:
    """Whether each group's label contains `field=value`, or `field_value` as the names of a sweep do."""
    end = re.escape(path.split(".")[-1])
    return all(
        re.search(rf"(?<![\w.]){end}[=_]{re.escape(group.texts[path])}(?![\w.])", group.label)
        for group in groups
    )


def _headings(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path as its heading, or the whole path where others end the same."""
    ends = [path.split(".")[-1] for path in paths]
    return {
        path: path if ends.count(end) > 1 or end in ("name", "run", "seeds", "status") else end
        for path, end in zip(paths, ends, strict=True)
    }


def _footnotes(comparison: Comparison, groups: Sequence[Group]) -> dict[str, str]:
    """Letters for each reason not to rank a value, in the order of the table's cells.

    A measure that only one group has is not ranked for no other reason, which needs no footnote.
    """
    marks = [
        standing.mark
        for group in groups
        for measure in comparison.measures
        if len(comparison.standings(measure)) > 1 and (standing := group.standings.get(measure))
    ]
    return {mark: _letters(index) for index, mark in enumerate(dict.fromkeys(filter(None, marks)))}


def _letters(index: int) -> str:
    """a … z, aa, ab, …"""
    more, last = divmod(index, len(ascii_lowercase))
    return (_letters(more - 1) if more else "") + ascii_lowercase[last]


def _cell(standing: Standing | None, footnotes: Mapping[str, str]) -> Cell:
    if standing is None:
        return Cell(MISSING)
    text = amount(standing.estimate, standing.seeds)
    return Cell(text, standing.won, footnotes.get(standing.mark, ""))


def _notes(comparison: Comparison) -> Iterator[str]:
    """How to read arrows, intervals and bold values, as far as the table has them; then each measure."""
    standings = {measure: comparison.standings(measure) for measure in comparison.measures}
    every = [standing for pairs in standings.values() for _, standing in pairs]
    for better, arrow in (("lower", "↓"), ("higher", "↑")):
        if any(standing.better == better for standing in every):
            yield f"{arrow}: {better} is better."
    with_interval = [standing for standing in every if standing.estimate.interval is not None]
    if any(standing.seeds > 1 for standing in with_interval):
        yield "±: the 95 % interval of the mean over training seeds."
    if any(standing.seeds == 1 for standing in with_interval):
        yield "[ ]: the 95 % interval of one run's score, which does not cover another training seed."
    if any(standing.won for standing in every):
        yield "Bold: better than every other ranked spec by more than noise."
    elif any(standing.rank for standing in every):
        yield "Nothing is bold: no spec is better than all others by more than noise."
    for measure, pairs in standings.items():
        ways = "; ".join(dict.fromkeys(filter(None, (_measured(standing) for _, standing in pairs))))
        if ways:
            yield f"{measure}: {ways}."


def _measured(standing: Standing) -> str:
    """How a metric was measured, such as `n 1,000, split test`; empty for a loss."""
    facts = {key: standing.condition.get(key) for key in ("n", "split")}
    return ", ".join(f"{key} {number(value)}" for key, value in facts.items() if value not in (None, ""))


def _differences(comparison: Comparison, groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    baseline = comparison.baseline
    for group in groups:
        changed = [
            f"{path} {group.texts[path]}"
            for path in comparison.fields
            if group is baseline or group.fields[path] != baseline.fields[path]
        ]
        yield group.label, ", ".join(changed)
