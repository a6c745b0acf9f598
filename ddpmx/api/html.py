"""What notebooks show of runs and comparisons: a table, and the figures of the pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice

from ..comparison.comparison import Comparison
from ..comparison.groups import Group
from ..comparison.tables import paper_table
from ..comparison.words import summary
from ..pages.page import embed_png
from ..storage.folder import FINAL, RunFolder

FIGURES = 3
"""Most figures of a comparison; its page has all of them."""


def of_comparison(comparison: Comparison, groups: Sequence[Group]) -> str:
    """The table for a paper, the comparison in words, and its first figures."""
    from ..comparison.figures import figures  # slow to import, as matplotlib is
    from ..pages.canvas import to_svg

    table = paper_table(comparison, groups)
    body = [
        "".join(
            f"<td>{'<b>' if cell.is_bold else ''}{escape(cell.text)}{'</b>' if cell.is_bold else ''}"
            f"<sup>{escape(cell.footnote)}</sup></td>"
            for cell in row
        )
        for row in table.rows
    ]
    head = "".join(f"<th>{escape(column.heading)}</th>" for column in table.columns)
    notes = [*table.notes, *(f"{letters}: {text}" for letters, text in table.footnotes.items())]
    shown = [
        f"<figure>{to_svg(plot.figure)}<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in islice(figures(comparison), FIGURES)
    ]
    return "".join(
        [
            f"<table><tr>{head}</tr>",
            *(f"<tr>{row}</tr>" for row in body),
            "</table>",
            *(f"<p>{escape(line)}</p>" for line in (*notes, *summary(comparison))),
            *shown,
        ]
    )


def of_run(folder: RunFolder, status: str) -> str:
    """The run's folder and status, its last losses and metrics, and its final samples."""
    facts = {"run": str(folder.path), "status": status}
    epochs = list(folder.events("epoch"))
    if epochs:
        last = epochs[-1]
        losses = {key: f"{last[key]:.4g}" for key in ("train_loss", "val_loss")}
        facts |= {"epoch": str(last["epoch"]), "step": str(last["step"]), **losses}
        facts |= {name: f"{value:.4g}" for name, value in last["metrics"].items()}
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
    return f"<table>{rows}</table>{''.join(_samples(folder))}"


def _samples(folder: RunFolder) -> Iterator[str]:
    """The run's final samples as an image, if there are any."""
    image = embed_png(folder.path / FINAL, "samples")
    if image is not None:
        yield f'<img src="{image.uri}" width="{image.width}" height="{image.height}" alt="samples">'
