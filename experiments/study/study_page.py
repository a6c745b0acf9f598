"""Renews docs/study.md from the published results: `python experiments/study/study_page.py`.

Its figures are drawn, and the tables of verdicts between its markers are written, from the results alone.
Several scales stand side by side: those that are published, or those whose folders are given.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from study_figures import write_figures
from study_tables import JSON as VERDICTS
from study_tables import table

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.verdict import Verdict
from ddpmx.claims.words import measured, published

ROOT = Path(__file__).parents[2]
DOCS, RESULTS = ROOT / "docs", ROOT / "results" / "study"
SCALES = ("digits", "small", "full")
TABLE = re.compile(r"(<!-- verdicts of ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A table of verdicts on the page, with the name of its sweep."""
GRIDS = re.compile(r"(<!-- grids -->\n).*?(<!-- end -->)", re.DOTALL)
"""The place of the images of each scale on the page."""
HEADINGS = ("claim", "verdict", "measured here", "the study's figures", "seeds")


def published_scales() -> list[Path]:
    """The folders of results that there are, from the smallest scale to the largest."""
    return [RESULTS / name for name in SCALES if (RESULTS / name).is_dir()]


def tables(scales: Sequence[Path]) -> dict[str, str]:
    """The tables of verdicts by the names of the sweeps, from one folder of results for each scale."""
    found = [{one.sweep: one.verdicts for one in judge_files(files_of_claims([folder]))} for folder in scales]
    made = {}
    for sweep, verdicts in found[0].items():
        if len(scales) == 1:
            made[sweep] = table(HEADINGS, [_row(scales[0], one) for one in verdicts])
        else:
            made[sweep] = _side_by_side(scales, [one.get(sweep, ()) for one in found])
    return made


def _row(scale: Path, one: Verdict) -> list[str]:
    seeds = f"{one.seeds or '–'}"
    return [one.claim.says, f"**{one.verdict}**", figure(scale, one), published(one.claim.published), seeds]


def _side_by_side(scales: Sequence[Path], verdicts: Sequence[Sequence[Verdict]]) -> str:
    """A table with a row for each claim of the first scale, and two columns for each scale."""
    headings = [cell for scale in scales for cell in (scale.name, f"{scale.name}: measured")]
    by_claim = [{one.claim.says: one for one in of_scale} for of_scale in verdicts]
    rows = []
    for says, first in by_claim[0].items():
        cells = [
            cell
            for scale, known in zip(scales, by_claim, strict=True)
            for cell in _cells(scale, known.get(says))
        ]
        rows.append([says, *cells, published(first.claim.published)])
    return table(["claim", *headings, "the study's figures"], rows)


def _cells(scale: Path, one: Verdict | None) -> tuple[str, str]:
    """The verdict at one scale, and what was measured of how many seeds; dashes if there is none."""
    if one is None:
        return "–", "–"
    seeds = f" ({one.seeds} seed{'s' * (one.seeds > 1)})" if one.seeds else ""
    return f"**{one.verdict}**", figure(scale, one) + seeds


def figure(scale: Path, one: Verdict) -> str:
    """What was measured, linked to the file that has it; a dash if nothing was."""
    text = measured(one)
    target = os.path.relpath(scale / VERDICTS, DOCS)
    return text if one.value is None else f"[{text}]({target})"


def renewed(page: str, scales: Sequence[Path]) -> str:
    """The page with the tables of these results, and the names of the pictures of their images."""
    found, names = tables(scales), [folder.name for folder in scales]
    grids = "\n".join(
        f"![The first images of each setting at the scale {name}](study_grids_{name}.png)\n" for name in names
    )
    page = TABLE.sub(lambda match: match[1] + found[match[2]] + match[3], page)
    return GRIDS.sub(lambda match: match[1] + grids + match[2], page)


def main(scales: Sequence[Path]) -> None:
    """Draw the figures and write the tables."""
    write_figures(scales, DOCS)
    page = DOCS / "study.md"
    page.write_text(renewed(page.read_text(), scales))


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]] or published_scales())
