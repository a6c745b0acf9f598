"""`compare --html`: a comparison as one self-contained page."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..outputs import write
from ..pages import page
from ..pages.canvas import style, to_svg
from ..text import number
from ..theory.estimate import amount
from .comparison import Comparison, Group, Standing
from .figures import figures
from .grids import Grid, Sheet, encode, fitted, label_of, read_sheet
from .results import Run
from .words import note, summary

STRIP = 10
"""Frames in a run's strip of denoising."""


@dataclass(frozen=True)
class Cell:
    """What the table shows of one measure of a group."""

    order: float
    """The number that the column sorts by."""
    text: str
    note: str
    won: bool
    bar: tuple[float, float, float] | None
    """Low end, value and high end of the interval, in percent of what all comparable intervals of the measure span."""


@dataclass(frozen=True)
class RunSamples:
    """A run's pictures. Runs of one `key` draw the same noise in the same cell."""

    group: str
    label: str
    key: str
    shape: tuple[int, int, int, int]
    grids: list[Grid]
    strip: page.Picture | None


def write_page(comparison: Comparison, groups: Sequence[Group], out: Path) -> Path:
    """Write the page to `out`, the groups in the order given. Raises SpecError for another suffix."""
    page.check_suffix(out, "--html")
    indices = {group.label: index for index, group in enumerate(comparison.groups)}
    runs = [(group, run) for group in groups for run in group.runs]
    shown = list(_pictures(runs))
    stops = sorted({grid.epoch for one in shown for grid in one.grids if grid.epoch is not None})
    html = page.render(
        "compare.html.jinja",
        title=_title(comparison),
        comparison=comparison,
        groups=groups,
        keys={group.label: _key(indices[group.label]) for group in groups},
        differs={group.label: _differs(group, comparison.baseline) for group in groups},
        summary=summary(comparison),
        cells={
            group.label: [_cell(comparison, group, measure) for measure in comparison.measures]
            for group in groups
        },
        arrows=[comparison.arrow(measure) for measure in comparison.measures],
        provenance=list(_provenance(comparison)),
        figures=[page.figure(to_svg(drawn.figure), drawn.caption) for drawn in figures(comparison)],
        shown=shown,
        stops=[
            *(label_of(epoch) for epoch in stops),
            *(["end"] if any(grid.epoch is None for one in shown for grid in one.grids) else []),
        ],
        remark=_remark(shown),
        runs=[(group, run, _numbers(run, comparison.measures)) for group, run in runs],
        environments=list(_environments([run for _, run in runs])),
        commands=[(group, run, _commands(run)) for group, run in runs],
    )
    write(out, html)
    return out


def _title(comparison: Comparison) -> str:
    runs, specs = sum(len(group.runs) for group in comparison.groups), len(comparison.groups)
    return f"{runs} {'run' if runs == 1 else 'runs'} of {'one spec' if specs == 1 else f'{specs} specs'}"


def _key(index: int) -> dict[str, str]:
    """How the group's curves are drawn: a colour and an SVG dash pattern."""
    colour, dash = style(index)
    return {
        "colour": colour,
        "dash": "none" if isinstance(dash, str) else " ".join(f"{2 * part:g}" for part in dash[1]),
    }


def _differs(group: Group, baseline: Group) -> dict[str, bool]:
    return {path: value != baseline.fields[path] for path, value in group.fields.items()}


def _cell(comparison: Comparison, group: Group, measure: str) -> Cell | None:
    standing = group.standings.get(measure)
    if standing is None:
        return None
    others = [other.estimate for _, other in comparison.standings(measure) if not other.mark]
    bounds = [bound for estimate in others for bound in estimate.interval or ()]
    bar = None
    if standing.estimate.interval is not None and not standing.mark and max(bounds) > min(bounds):
        low, high = min(bounds), max(bounds)
        left, middle, right = (
            round(100 * (end - low) / (high - low), 1)
            for end in (standing.estimate.interval[0], standing.estimate.value, standing.estimate.interval[1])
        )
        bar = (left, middle, right)
    said = note(group, standing, comparison, measure)
    return Cell(standing.estimate.value, amount(standing.estimate, standing.seeds), said, standing.won, bar)


def _provenance(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """(measure, how it was taken) of each measure and each way that it was taken in."""
    for measure in comparison.measures:
        if measure == "val_loss":
            yield (
                measure,
                "lowest over the epochs, of the validation images, each at a fixed timestep and noise",
            )
            continue
        yield from (
            (measure, text)
            for text in dict.fromkeys(_how(standing) for _, standing in comparison.standings(measure))
        )


def _how(standing: Standing) -> str:
    score = standing.results[0].score
    parts = [
        f"{key} {number(value)}"
        for key, value in standing.condition.items()
        if key != "data" and value not in (None, "")
    ]
    if score is not None and score.get("floor") is not None:
        parts.append(
            f"real images instead of generated ones get {number(score.get('floor'))} (n {number(score.get('floor_n', 0))})"
        )
    if score is not None and score.get("interval_note"):
        parts.append(f"interval: {score['interval_note']}")
    return ", ".join(parts)


def _pictures(runs: Sequence[tuple[Group, Run]]) -> Iterator[RunSamples]:
    """Of the runs that have some."""
    having = [(group, run, sheets) for group, run in runs if (sheets := _sheets(run))]
    for (group, run, sheets), grids in zip(having, fitted([sheets for _, _, sheets in having]), strict=True):
        shape = next(iter(sheets.values())).shape
        key = f"{run.spec['evaluate']['seed']} {shape} {run.spec['dataset']['name']}"
        yield RunSamples(group.label, group.name_of(run), key, shape, grids, _strip(run))


def _sheets(run: Run) -> dict[float | None, Sheet]:
    """A run's grids by epoch, or passes over the training images within one, None for the final grid; without those of another layout."""
    images = run.spec["evaluate"]["grid"]
    if images == 0:
        return {}
    files: list[tuple[float | None, Path]] = [
        *run.folder.grids().items(),
        (None, run.folder.samples / "final.png"),
    ]
    read = {epoch: sheet for epoch, path in files if (sheet := read_sheet(path, images)) is not None}
    shapes = Counter(sheet.shape for sheet in read.values())
    return {epoch: sheet for epoch, sheet in read.items() if sheet.shape == shapes.most_common(1)[0][0]}


def _strip(run: Run) -> page.Picture | None:
    """The first image on its way from noise."""
    sheet = read_sheet(run.folder.samples / "denoising.png", 8 * STRIP)
    return (
        None
        if sheet is None
        else encode(
            Sheet(sheet.pixels[: sheet.size], sheet.size),
            "its first image on the way from noise",
            lossless=True,
        )
    )


def _remark(shown: Sequence[RunSamples]) -> str:
    """Whether cell (i, j) of one grid may be compared with cell (i, j) of another."""
    keys = Counter(one.key for one in shown)
    if len(keys) < 2:
        return "Each cell starts from the same noise in every run and epoch (evaluate.seed), so cells compare one by one."
    usual = keys.most_common(1)[0][0]
    odd = [one.label for one in shown if one.key != usual]
    return f"Not from the same noise, or in another layout, as the others, so that their cells do not compare: {'; '.join(odd)}."


def _numbers(run: Run, measures: Sequence[str]) -> list[tuple[float, str, str]]:
    """(value, text, note) of a run's own results; NaN where it has none."""
    cells = []
    for measure in measures:
        result = run.results.get(measure)
        if result is None:
            cells.append((math.nan, "–", ""))
        else:
            best = f"best {number(result.best)}, epoch {result.best_epoch}"
            cells.append(
                (
                    result.estimate.value,
                    amount(result.estimate),
                    best if result.best != result.estimate.value else f"epoch {result.epoch}",
                )
            )
    return cells


def _environments(runs: Sequence[Run]) -> Iterator[tuple[str, list[tuple[str, int]], bool]]:
    """(what, [(value, how many runs have it)], whether they differ) of all that the runs' environments say; differences first."""
    told: list[dict[str, str]] = [dict(page.environment_facts(run.environment)) for run in runs]
    rows = []
    for what in dict.fromkeys(key for facts in told for key in facts):
        values = Counter(facts.get(what, "not recorded") for facts in told)
        rows.append((what, values.most_common(), len(values) > 1))
    yield from sorted(rows, key=lambda row: not row[2])


def _commands(run: Run) -> list[tuple[str, str]]:
    again = f"python -m ddpmx run {shlex.quote(str(run.path / 'spec.yaml'))}"
    return page.with_start([("Run it again", again)], run.environment)
