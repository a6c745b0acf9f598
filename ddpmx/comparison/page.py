"""`compare --html`: a comparison on one self-contained page."""

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
from ..pages.claims import ClaimTable
from ..pages.quality_plots import section
from ..text import facts_in_words, floor_in_words, number
from ..theory.estimate import amount
from .comparison import Comparison
from .figures import figures
from .grids import Grid, Sheet, encode, fitted, label_of, read_sheet
from .groups import Group, Standing
from .others import others_of
from .results import Run
from .training_curves import X_AXES, CaptionedFigure, x_axes
from .words import note, summary

STRIP = 10
"""Frames in a run's denoising strip."""


@dataclass(frozen=True)
class Cell:
    """A table cell: a group's result on one measure."""

    order: float
    """The number by which the column is sorted."""
    text: str
    """The value with its interval."""
    note: str
    """Rank and difference, or why there is no rank."""
    won: bool
    """Whether the group is the best by more than noise."""
    bar: tuple[float, float, float] | None
    """The interval's low end, the value and the high end, in percent of the range of comparable intervals.

    None if there is no interval or the group is not comparable.
    """


@dataclass(frozen=True)
class RunSamples:
    """The sample grids and the denoising strip of a run."""

    group: str
    """The group's label."""
    label: str
    """The run's name in its group."""
    key: str
    """Equal for runs whose equal cells start from the same noise."""
    shape: tuple[int, int, int, int]
    """Rows, columns, size of a cell in pixels, channels."""
    grids: list[Grid]
    """By ascending epoch, the final one last."""
    strip: page.EmbeddedImage | None
    """The first image at steps of sampling; None if the run has no denoising strip."""


def write_page(
    comparison: Comparison, groups: Sequence[Group], out: Path, claims: Sequence[ClaimTable] = ()
) -> Path:
    """Write the page to `out`, with the groups in the order given and a section for claims; returns `out`.

    Raises SpecError if `out` does not end in .html.
    """
    page.check_suffix(out, "--html")
    indices = {group.label: index for index, group in enumerate(comparison.groups)}
    runs = [(group, run) for group in groups for run in group.runs]
    samples = list(_samples(runs))
    stops = sorted({grid.epoch for one in samples for grid in one.grids if grid.epoch is not None})
    html = page.render(
        "compare.html.jinja",
        title=_title(comparison),
        comparison=comparison,
        groups=groups,
        keys={group.label: _key(indices[group.label]) for group in groups},
        differs={group.label: _differs(group, comparison.baseline) for group in groups},
        summary=summary(comparison),
        claims=claims,
        cells={
            group.label: [_cell(comparison, group, measure) for measure in comparison.measures]
            for group in groups
        },
        arrows=[comparison.arrow(measure) for measure in comparison.measures],
        provenance=list(_provenance(comparison)),
        axes={key: X_AXES[key] for key in x_axes(comparison)},
        figures=[_embedded(plot) for plot in figures(comparison)],
        qualities=section([(training.label, training.qualities) for training in comparison.qualities]),
        samples=samples,
        stops=[
            *(label_of(epoch) for epoch in stops),
            *(["end"] if any(grid.epoch is None for one in samples for grid in one.grids) else []),
        ],
        remark=_remark(samples),
        runs=[(group, run, _numbers(run, comparison.measures)) for group, run in runs],
        others=[(group, one) for group in groups for one in others_of(group)],
        amount=amount,
        environments=list(_environments([run for _, run in runs])),
        commands=[(group, run, _commands(run)) for group, run in runs],
    )
    write(out, html)
    return out


def _embedded(plot: CaptionedFigure) -> page.Figure:
    return page.figure(
        to_svg(plot.figure), plot.caption, {key: to_svg(figure) for key, figure in plot.over.items()}
    )


def _title(comparison: Comparison) -> str:
    runs, specs = sum(len(group.runs) for group in comparison.groups), len(comparison.groups)
    return f"{runs} {'run' if runs == 1 else 'runs'} of {'one spec' if specs == 1 else f'{specs} specs'}"


def _key(index: int) -> dict[str, str]:
    """The style of a group's curves: a colour and an SVG dash pattern."""
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
    ranking = comparison.rankings[measure]
    intervals = [other.standings[measure].estimate.interval for other in ranking.groups]
    bounds = [bound for interval in intervals for bound in interval or ()]
    bar = None
    if standing.estimate.interval is not None and ranking.has(group) and max(bounds) > min(bounds):
        low, high = min(bounds), max(bounds)
        left, middle, right = (
            round(100 * (end - low) / (high - low), 1)
            for end in (standing.estimate.interval[0], standing.estimate.value, standing.estimate.interval[1])
        )
        bar = (left, middle, right)
    text = amount(standing.estimate, standing.seeds)
    below = note(group, standing, comparison, measure)
    return Cell(standing.estimate.value, text, below, standing.won, bar)


def _provenance(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """(measure, how it was measured) for each measure, once for each way in which it was measured."""
    for measure in comparison.measures:
        if measure == "val_loss":
            yield (
                measure,
                "the lowest over all epochs; each validation image has a fixed timestep and fixed noise",
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
    if score is not None and score.get("facts"):
        parts.append(facts_in_words(score["facts"]))
    if score is not None and score.get("floor") is not None:
        parts.append(f"real images score {floor_in_words(score)}")
    if score is not None and score.get("interval_note"):
        parts.append(f"interval: {score['interval_note']}")
    return ", ".join(parts)


def _samples(runs: Sequence[tuple[Group, Run]]) -> Iterator[RunSamples]:
    """The samples of the runs that have any."""
    sampled = [(group, run, sheets) for group, run in runs if (sheets := _sheets(run))]
    fitted_grids = fitted([sheets for _, _, sheets in sampled])
    for (group, run, sheets), grids in zip(sampled, fitted_grids, strict=True):
        shape = next(iter(sheets.values())).shape
        key = f"{run.spec['evaluate']['seed']} {shape} {run.spec['dataset']['name']}"
        yield RunSamples(group.label, group.name_of(run), key, shape, grids, _strip(run))


def _sheets(run: Run) -> dict[float | None, Sheet]:
    """A run's grids by epoch, with a fraction for a grid made within one, and None for the final grid.

    Grids of a less frequent layout are omitted.
    """
    images = run.spec["evaluate"]["grid"]
    if images == 0:
        return {}
    files: list[tuple[float | None, Path]] = [
        *run.folder.grids().items(),
        (None, run.folder.samples / "final.png"),
    ]
    sheets = {epoch: sheet for epoch, path in files if (sheet := read_sheet(path, images)) is not None}
    shapes = Counter(sheet.shape for sheet in sheets.values())
    return {epoch: sheet for epoch, sheet in sheets.items() if sheet.shape == shapes.most_common(1)[0][0]}


def _strip(run: Run) -> page.EmbeddedImage | None:
    """The run's first image at steps of sampling."""
    sheet = read_sheet(run.folder.samples / "denoising.png", 8 * STRIP)
    if sheet is None:
        return None
    first_row = Sheet(sheet.pixels[: sheet.size], sheet.size)
    return encode(first_row, "the first image at steps of sampling, from noise", lossless=True)


def _remark(samples: Sequence[RunSamples]) -> str:
    """Whether cell (i, j) of one grid may be compared with cell (i, j) of another."""
    keys = Counter(one.key for one in samples)
    if len(keys) < 2:
        return (
            "Each cell starts from the same noise in every run and epoch (evaluate.seed), "
            "so grids can be compared cell by cell."
        )
    usual = keys.most_common(1)[0][0]
    odd = [one.label for one in samples if one.key != usual]
    return (
        "Not comparable cell by cell, because the starting noise or the layout differs, "
        f"with the others: {'; '.join(odd)}."
    )


def _numbers(run: Run, measures: Sequence[str]) -> list[tuple[float, str, str]]:
    """(value, text, note) of a run's own results, in the order of `measures`; NaN for a missing one."""
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
    """(name, [(value, number of runs with it)], whether values differ) of the runs' environments.

    Differences first.
    """
    environments: list[dict[str, str]] = [dict(page.environment_facts(run.environment)) for run in runs]
    rows = []
    for name in dict.fromkeys(key for facts in environments for key in facts):
        values = Counter(facts.get(name, "not recorded") for facts in environments)
        rows.append((name, values.most_common(), len(values) > 1))
    yield from sorted(rows, key=lambda row: not row[2])


def _commands(run: Run) -> list[tuple[str, str]]:
    again = f"python -m ddpmx run {shlex.quote(str(run.path / 'spec.yaml'))}"
    return page.with_start([("Repeat the run", again)], run.environment)
