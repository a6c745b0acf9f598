"""A floor of another number of images is never shown beside a value without saying so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_runs import make_run, score

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.page import write_page
from ddpmx.pages.report import write_report
from ddpmx.text import floor_in_words
from ddpmx.trackers.base import intervals

OTHER_N = {"n": 500, "floor": 10.06, "floor_n": 90}
WARNING = "does not compare with the value, of n 500"


def test_a_floor_says_its_images_and_whether_it_compares() -> None:
    assert floor_in_words(score(4.67, **OTHER_N)) == f"10.06 (n 90: {WARNING})"
    same = {"n": 500, "floor": 1.25, "floor_n": 500, "floor_split": "train"}
    assert floor_in_words(score(4.67, **same)) == "1.25 (n 500 train images)"
    assert floor_in_words(score(0.1, **OTHER_N, depends_on_n=False)) == "10.06 (n 90)"
    assert floor_in_words(score(4.67, floor=None)) == ""


def test_pages_say_that_it_does_not_compare(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", scores={"fd_cnn": score(4.67, **OTHER_N)})
    write_report(run)
    assert WARNING in (run / "report.html").read_text()
    comparison = compare([run], None)
    write_page(comparison, comparison.groups, tmp_path / "page.html")
    assert WARNING in (tmp_path / "page.html").read_text()


def test_trackers_name_it_otherwise() -> None:
    def event(**facts: Any) -> dict[str, Any]:
        return {"event": "epoch", "metrics": {"fd_cnn": 4.67}, "scores": {"fd_cnn": score(4.67, **facts)}}

    other, same = intervals(event(**OTHER_N)), intervals(event(n=500, floor=1.25, floor_n=500))
    assert other["metrics/fd_cnn.floor_n90"] == 10.06
    assert "metrics/fd_cnn.floor" not in other
    assert same["metrics/fd_cnn.floor"] == 1.25
