"""`ddpmx.evaluate`, `ddpmx.compare` and `ddpmx.sweep`: functions over existing runs, and over many."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..comparison.comparison import Comparison
from ..comparison.comparison import compare as compare_runs
from ..comparison.groups import Group
from ..comparison.latex import to_latex
from ..comparison.markdown import to_markdown
from ..comparison.output import print_table, to_data, to_rows
from ..comparison.sorting import sort as sorted_groups
from ..files import expanded
from ..spec.values import texts
from ..sweeps.request import Request
from ..sweeps.runner import sweep as run_sweep
from ..terminal.console import shown
from . import html
from .arguments import Block, arguments_named
from .frames import Events, frame
from .runs import Run, load

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class ComparedRuns:
    """Runs side by side: a group for each spec, whose runs differ only in their seed."""

    comparison: Comparison
    """The groups, how their specs differ, and a ranking by each measure."""
    groups: tuple[Group, ...]
    """The groups in the order of the tables."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each group, numbers in full, as `compare --csv`. Raises ImportError without pandas."""
        headings, *rows = to_rows(self.comparison, self.groups)
        return frame(rows, headings)

    def markdown(self) -> str:
        """The table in Markdown, with notes, as `compare --markdown`."""
        return to_markdown(self.comparison, self.groups)

    def latex(self) -> str:
        """The table for LaTeX's booktabs, as `compare --latex`."""
        return to_latex(self.comparison, self.groups)

    def data(self) -> dict[str, object]:
        """Everything as JSON types, as `compare --json`."""
        return to_data(self.comparison, self.groups)

    def _repr_html_(self) -> str:
        """The comparison in a notebook: its table, in words, and its first figures."""
        return html.of_comparison(self.comparison, self.groups)

    def __str__(self) -> str:
        """What `ddpmx compare` prints."""
        text = io.StringIO()
        print_table(self.comparison, self.groups, text)
        return text.getvalue().rstrip("\n")

    def __repr__(self) -> str:
        runs = sum(len(group.runs) for group in self.groups)
        return f"ComparedRuns({runs} runs of {len(self.groups)} specs)"


def evaluate(
    run: str | Path | Run,
    metrics: Sequence[Block] = (),
    *,
    samples: int | None = None,
    over: Mapping[str, Sequence[object]] | None = None,
    overrides: Mapping[str, object] | None = None,
    allow_changed_data: bool = False,
    progress: bool | None = None,
) -> Events:
    """The measurements of a run, given as for `ddpmx.load`; see `Run.evaluate`."""
    opened = run if isinstance(run, Run) else load(run)
    return opened.evaluate(
        metrics,
        samples=samples,
        over=over,
        overrides=overrides,
        allow_changed_data=allow_changed_data,
        progress=progress,
    )


def compare(
    runs: str | Path | Run | Sequence[str | Path | Run],
    *,
    baseline: str | Path | Run | None = None,
    sort: str | None = None,
) -> ComparedRuns:
    """Compare runs, or folders of runs: how their specs differ, and which is better beyond the noise.

    `baseline` is a run, or a group's label, that differences are taken to, by default the first. `sort` is a
    measure, a field that differs, `name` or `status`. Raises SpecError for a path without runs.
    """
    listed = [runs] if isinstance(runs, str | Path | Run) else [*runs]
    base = baseline.folder if isinstance(baseline, Run) else baseline
    with shown(False), arguments_named():
        comparison = compare_runs([_path(run) for run in listed], base)
        return ComparedRuns(comparison, tuple(sorted_groups(comparison, sort)))


def sweep(
    spec: str | Path,
    overrides: Mapping[str, object] | None = None,
    *,
    out: str | Path = "runs",
    jobs: int | None = None,
    allow_changed_data: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> list[Run]:
    """Run every point of a spec's `sweep:` that has not finished yet; returns the runs of all points.

    Each training is a process, of which `jobs` run at the same time: by default one for each GPU, or core.
    `allow_changed_data` counts points as finished even if their data have changed since. Raises SpecError
    before anything starts, RunError if points failed, and Interrupted if it was stopped; the
    same call then runs what is missing.
    """
    request = Request(expanded(spec), texts(overrides or {}), expanded(out), device, allow_changed_data)
    with shown(progress), arguments_named():
        folders = run_sweep(request, engine="local", jobs=jobs, say=lambda line: None)
    return [Run(folder, device=device) for folder in folders]


def _path(run: str | Path | Run) -> Path:
    return run.folder if isinstance(run, Run) else expanded(run)
