"""Numbers and durations as pages show them."""

from __future__ import annotations

import pytest

from ddpmx.pages import page
from ddpmx.text import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.048331, "0.04833"),
        (12.3456, "12.35"),
        (1234.5, "1,234"),
        (2996315, "2,996,315"),
        (1e-7, "1e-07"),
        (float("inf"), "inf"),
        ("v", "v"),
    ],
)
def test_numbers(value: object, text: str):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (59.4, "59.4 s"),
        (59.6, "1 min 00 s"),
        (780.0, "13 min"),
        (3599.7, "1 h 00 min"),
        (12_065, "3 h 21 min"),
    ],
)
def test_durations(seconds: float, text: str):
    assert page.duration(seconds) == text
