"""The parts of the claims' section: the figure of an interval, and the links in a source."""

from __future__ import annotations

import math

import pytest

from ddpmx.pages.claims import ClaimRow, interval_bar

INF = math.inf


@pytest.mark.parametrize("claimed", [(1.0, INF), (-INF, 1.0), (-2.0, 2.0)])
@pytest.mark.parametrize(
    "interval", [(1.5, 1.8, 1.9), (-3.0, 0.0, 4.0), (-1.0, -0.5, 0.5), (-90.0, -80.0, -70.0)]
)
def test_the_figure_shows_whether_the_interval_lies_on_the_claims_side(interval, claimed):
    low, value, high = interval
    bar = interval_bar(low, value, high, claimed)
    assert bar is not None
    assert 0 <= bar.low <= bar.value <= bar.high <= 100
    assert 0 <= bar.claimed[0] < bar.claimed[1] <= 100
    inside = claimed[0] <= low and high <= claimed[1]
    assert (bar.claimed[0] <= bar.low and bar.high <= bar.claimed[1]) == inside
    assert len(bar.thresholds) == sum(map(math.isfinite, claimed))


@pytest.mark.parametrize(
    "parts",
    [
        (None, 1.0, 2.0, (0.0, INF)),
        (0.0, 1.0, 2.0, None),
        (1.0, 1.0, 1.0, (1.0, INF)),
        (-INF, 1.0, INF, (1.0, INF)),
    ],
)
def test_there_is_no_figure_without_an_interval_of_some_width(parts):
    assert interval_bar(*parts) is None


@pytest.mark.parametrize(
    ("source", "links"),
    [
        ("a page", []),
        (
            "see https://a.page/b?c=1, or (http://b.page/x_(y)).",
            ["https://a.page/b?c=1", "http://b.page/x_(y)"],
        ),
        (
            "arXiv:2301.12345v2 and arxiv: 1234.5678",
            ["https://arxiv.org/abs/2301.12345v2", "https://arxiv.org/abs/1234.5678"],
        ),
        ("javascript:alert(1) ftp://a.page https://", []),
    ],
)
def test_urls_and_arxiv_numbers_are_links_and_no_text_is_lost(source, links):
    row = ClaimRow("holds", "", "", "", None, (), source, "", "", "")
    parts = list(row.source_parts)
    assert "".join(text for text, _ in parts) == source
    assert [link for _, link in parts if link] == links
