"""Renews the tables of docs/claims.md from what is published: `python experiments/study/papers_page.py`."""

from __future__ import annotations

from pathlib import Path

from papers import papers
from study_page import TABLE
from study_tables import TABLE as VERDICTS
from study_tables import to_markdown

from ddpmx.claims.judged import Judged
from ddpmx.claims.verdict import Verdict
from ddpmx.spec.claims import claims_of
from ddpmx.spec.loading import merged

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "docs" / "claims.md", ROOT / "results" / "claims"


def renewed(page: str, results: Path) -> str:
    """The page with the published tables; the claims of a sweep that has none are not tested yet."""
    return TABLE.sub(lambda match: match[1] + _table(match[2], results) + match[3], page)


def _table(name: str, results: Path) -> str:
    published = results / name / VERDICTS
    if published.exists():
        return published.read_text()
    claims = claims_of(merged(papers()[name]))
    return to_markdown(
        [Judged(name, tuple(Verdict(claim, "undecided", needs="not tested yet") for claim in claims))]
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(), RESULTS))
