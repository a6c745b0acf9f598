"""The pages in a real browser, from file://: no network requests, no errors, working sliders and tables."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser
from made_runs import ENVIRONMENT, add_grids, make_run, per_t, score
from PIL import Image

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.page import write_page
from ddpmx.errors import SpecError
from ddpmx.pages.report import write_report
from ddpmx.storage.folder import RunFolder

NASTY = "<script>document.title='taken'</script>"
WINDOWS = [(1440, False), (1440, True), (390, False), (390, True)]
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium, chromium-browser or google-chrome on this machine"
)
VISIBLE = (
    "[...document.querySelectorAll('.sheet')]"
    ".map(s => [...s.querySelectorAll('img')].filter(i => i.offsetWidth).map(i => i.alt))"
)
ROWS = (
    "[...document.querySelectorAll('section:nth-of-type(5) tbody tr')]"
    ".map(r => r.cells[{}].innerText.split('\\n')[0].trim())"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two specs, three runs.

    The second spec's run has other starting noise, and text that tries to inject HTML.
    """
    out = tmp_path_factory.mktemp("runs")
    made = [
        make_run(
            out,
            "name=good",
            f"seed={seed}",
            "evaluate.grid=16",
            scores={"fd_cnn": score(4.0 + seed / 10)},
            epochs=3,
        )
        for seed in (0, 1)
    ]
    settings = ("name=odd", "evaluate.grid=16", "evaluate.seed=5", f"train.init_from={NASTY}")
    made.append(
        make_run(
            out, *settings, scores={"fd_cnn": score(30.0), "is_cnn": score(5.0, better="higher")}, epochs=3
        )
    )
    for seed, run in enumerate(made):
        add_grids(run, 3, seed)
        RunFolder(run).add_event(per_t(3))
    RunFolder(made[2]).write_json(
        "environment.json", {**ENVIRONMENT, "device": NASTY, "command": f"x {NASTY}"}
    )
    RunFolder(made[2]).set_status("finished", NASTY)
    return made


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    comparison = compare(runs)
    return write_page(comparison, comparison.groups, tmp_path_factory.mktemp("page") / "compare.html")


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Path:
    return write_report(runs[0])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser") / "profile")
    yield opened
    opened.close()


def tile(png: bytes | Path, row: int, column: int, size: int) -> np.ndarray:
    with Image.open(png if isinstance(png, Path) else io.BytesIO(png)) as image:
        return np.asarray(image.convert("L"))[row : row + size, column : column + size]


@needs_browser
@pytest.mark.parametrize("name", ["page", "report"])
def test_it_opens_alone_and_fits_every_window(name: str, browser: Browser, request: pytest.FixtureRequest):
    file: Path = request.getfixturevalue(name)
    browser.requests.clear()
    browser.complaints.clear()
    papers = {}
    for width, dark in WINDOWS:
        browser.open(file, width, dark)
        assert browser.ask("document.documentElement.scrollWidth") <= width
        papers[dark] = browser.ask("getComputedStyle(document.body).backgroundColor")
        assert browser.ask("document.title") != "taken"
        assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth)")
    assert papers[True] != papers[False]
    assert browser.complaints == []
    assert browser.requests
    assert [
        url for url in browser.requests if not url.startswith(("data:image/", file.resolve().as_uri()))
    ] == []


@needs_browser
def test_a_heading_sorts_its_table(page: Path, browser: Browser):
    browser.open(page)
    every_run = ROWS.format(2)
    assert browser.ask(every_run) == ["4.00 [3.90, 4.10]", "4.10 [4.00, 4.20]", "30.00 [29.90, 30.10]"]
    heading = "section:nth-of-type(5) thead th:nth-child(3) button"
    browser.click(heading)
    assert browser.ask(every_run)[0].startswith("4.00")
    browser.click(heading)
    assert browser.ask(every_run) == ["30.00 [29.90, 30.10]", "4.10 [4.00, 4.20]", "4.00 [3.90, 4.10]"]
    assert browser.ask(f"document.querySelector('{heading}').parentElement.ariaSort") == "descending"
    # Two runs have no is_cnn: they come last in both directions.
    missing = "section:nth-of-type(5) thead th:nth-child(4) button"
    for _ in range(2):
        browser.click(missing)
        assert browser.ask(ROWS.format(3)) == ["5.00 [4.90, 5.10]", "–", "–"]


SHOWN = (
    "[...document.querySelectorAll('.curves [data-over]')].filter(d => d.offsetWidth)"
    ".map(d => [d.dataset.over, d.querySelector('svg').ariaLabel])"
)
OVER_TRAINING = ["Validation loss", "Training loss", "fd_cnn", "is_cnn"]


@needs_browser
def test_the_x_axis_of_all_curves_is_chosen_with_mouse_or_keys(page: Path, browser: Browser):
    browser.open(page)
    assert browser.ask(SHOWN) == [["", title] for title in OVER_TRAINING]
    height = browser.ask("document.querySelector('.curves').offsetHeight")
    browser.click(".curves label:nth-of-type(3)")
    assert browser.ask(SHOWN) == [["images", title] for title in OVER_TRAINING]
    browser.press("ArrowRight", 39)
    assert browser.ask(SHOWN) == [["seconds", title] for title in OVER_TRAINING]
    assert browser.ask("document.querySelector('.curves').offsetHeight") == height
    clipped = "[...document.querySelectorAll('.curves [id]')].map(e => e.id)"
    ids = browser.ask(clipped)
    assert len(ids) == len(set(ids))


@needs_browser
def test_without_a_script_curves_are_over_epochs(page: Path, browser: Browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.ask(SHOWN) == [["", title] for title in OVER_TRAINING]
    assert browser.ask("document.querySelector('.curves fieldset').offsetWidth") == 0


@needs_browser
def test_the_slider_moves_the_grids_of_all_runs(page: Path, browser: Browser):
    browser.open(page)
    assert browser.ask(VISIBLE) == [["end"], ["end"], ["end"]]
    browser.ask("document.querySelector('.samples input').focus()")
    browser.press("Home", 36)
    assert browser.ask(VISIBLE) == [["epoch 1"]] * 3
    browser.press("ArrowRight", 39)
    assert browser.ask(VISIBLE) == [["epoch 2"]] * 3
    assert browser.ask("document.querySelector('.samples output').value") == "epoch 2"


@needs_browser
def test_a_click_enlarges_that_cell_of_all_runs_with_that_noise(
    page: Path, runs: list[Path], browser: Browser
):
    """Row 2, column 1 of 4 × 4 tiles, compared pixel by pixel with the runs' PNGs.

    The third run has other noise.
    """
    browser.open(page)
    browser.click(".sheet", x=(1 + 0.5) / 4, y=(2 + 0.5) / 4)
    uris = browser.ask(
        "[...document.querySelectorAll('.zoomed canvas')].filter(c => c.offsetWidth).map(c => c.toDataURL())"
    )
    assert len(uris) == 2
    for uri, run in zip(uris, runs, strict=False):
        enlarged = tile(base64.b64decode(uri.split(",")[1]), 0, 0, 96)[6::12, 6::12]
        saved = tile(run / "samples" / "final.png", 2 + 2 * 50, 2 + 1 * 50, 48)[::6, ::6]
        assert np.array_equal(enlarged, saved)
    browser.ask("document.querySelector('.sheet').focus()")
    browser.press("ArrowRight", 39)
    (first, _) = browser.ask(
        "[...document.querySelectorAll('.zoomed canvas')].filter(c => c.offsetWidth).map(c => c.toDataURL())"
    )
    saved = tile(runs[0] / "samples" / "final.png", 2 + 2 * 50, 2 + 2 * 50, 48)[::6, ::6]
    assert np.array_equal(tile(base64.b64decode(first.split(",")[1]), 0, 0, 96)[6::12, 6::12], saved)


@needs_browser
def test_the_reports_slider_and_tables_work(report: Path, browser: Browser):
    browser.open(report)
    shown = "[...document.querySelectorAll('.epochs img')].filter(i => i.offsetWidth).map(i => i.alt)"
    assert browser.ask(shown) == ["epoch 3"]
    browser.ask("document.querySelector('.epochs input').focus()")
    browser.press("ArrowLeft", 37)
    assert browser.ask(shown) == ["epoch 2"]
    browser.ask("document.querySelector('details').open = true")
    column = "[...document.querySelectorAll('table.numbers tbody tr')].map(r => r.cells[0].innerText)"
    assert browser.ask(column) == ["1", "2", "3"]
    for _ in range(2):
        browser.click("table.numbers th:first-child button")
    assert browser.ask(column) == ["3", "2", "1"]


def test_the_page_says_what_the_comparison_says(page: Path):
    html = page.read_text()
    for said in (
        "3 runs of 2 specs",
        "<small>one seed ·",
        "of these trained networks, good is best",
        "real images score 0.5 (n 898: does not compare with the value, of n 1,000)",
        "python -m ddpmx run ",
        "train.init_from",
    ):
        assert said in html
    assert "Not comparable cell by cell" in html
    assert "with the others: odd." in html
    assert html.count('<svg class="bar"') == 3  # fd_cnn of both specs, although one has one seed; and is_cnn
    assert NASTY not in html


def test_specs_with_two_seeds_have_ranks_on_the_page(tmp_path: Path):
    made = [
        make_run(tmp_path, f"loss.norm={norm}", f"seed={seed}", scores={"fd_cnn": score(value + seed / 50)})
        for norm, value in (("l1", 4.0), ("l2", 9.0))
        for seed in (0, 1)
    ]
    comparison = compare(made)
    html = write_page(comparison, comparison.groups, tmp_path / "page.html").read_text()
    assert "<small>rank 1 · baseline" in html
    assert "<small>rank 2 · Δ +5.00" in html
    assert "norm=l1 is best" in html


@pytest.mark.parametrize("name", ["page", "report"])
def test_the_noise_levels_are_plotted(name: str, request: pytest.FixtureRequest):
    html = request.getfixturevalue(name).read_text()
    for title in ("Validation loss by noise level", "Bits by noise level"):
        assert f'aria-label="{title}"' in html


def test_the_report_shows_the_details_of_a_score(report: Path):
    html = report.read_text()
    for said in ("[3.9, 4.1], epoch 3", "3.9 … 4.1", "0.5 (n 898: does not compare", "c0ffee", "1,000"):
        assert said in html


def test_twelve_runs_with_grids_stay_below_3_megabytes(tmp_path: Path):
    """Colour noise of 32×32, the worst case: 12 runs of 36 images in 3 epochs."""
    made = []
    for seed in range(12):
        run = make_run(
            tmp_path,
            f"loss.norm={('l1', 'l2', 'huber')[seed % 3]}",
            f"seed={seed}",
            "evaluate.grid=36",
            epochs=3,
        )
        made.append(run)
    add_grids(made[0], 3, 0, images=36, size=32, channels=3)
    for run in made[1:]:
        shutil.copytree(made[0] / "samples", run / "samples", dirs_exist_ok=True)
    comparison = compare(made)
    file = write_page(comparison, comparison.groups, tmp_path / "page.html")
    assert 500_000 < file.stat().st_size < 3_000_000


def test_a_page_of_runs_without_pictures_or_epochs(tmp_path: Path):
    made = [
        make_run(tmp_path, f"name={name}", f"train.lr={lr}", epochs=0, status="running")
        for name, lr in (("a", 1e-3), ("b", 2e-3))
    ]
    comparison = compare(made)
    html = write_page(comparison, comparison.groups, tmp_path / "page.html").read_text()
    assert "2 runs of 2 specs" in html
    assert "Samples" not in html


def test_another_suffix_is_refused(tmp_path: Path, runs: list[Path]):
    comparison = compare(runs)
    with pytest.raises(SpecError, match="should end in .html"):
        write_page(comparison, comparison.groups, tmp_path / "page.pdf")
