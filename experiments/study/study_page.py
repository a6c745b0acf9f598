"""Renews docs/study.md from published results: `python experiments/study/study_page.py results/study/digits`.

Its figures are drawn, and the tables of verdicts between its markers are written, from the results alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from study_figures import write_figures
from study_tables import table

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.words import measured, published

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"(<!-- verdicts of ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A table of verdicts on the page, with the name of its sweep."""
HEADINGS = ("claim", "verdict", "measured here", "the study's figures", "seeds")


def tables(results: Path) -> dict[str, str]:
    """The tables of verdicts by the names of the sweeps."""
    found = {}
    for judged in judge_files(files_of_claims([results])):
        rows = [
            [
                one.claim.says,
                f"**{one.verdict}**",
                measured(one),
                published(one.claim.published),
                f"{one.seeds or '–'}",
            ]
            for one in judged.verdicts
        ]
        found[judged.sweep] = table(HEADINGS, rows)
    return found


def renewed(page: str, results: Path) -> str:
    """The page with the tables of these results."""
    found = tables(results)
    return TABLE.sub(lambda match: match[1] + found[match[2]] + match[3], page)


def main(results: Path) -> None:
    """Draw the figures and write the tables."""
    write_figures(results, DOCS)
    page = DOCS / "study.md"
    page.write_text(renewed(page.read_text(), results))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
