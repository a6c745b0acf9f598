"""What notebooks show of tables, plans, runs and comparisons."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_runs import make_run, score

import ddpmx
from ddpmx.images import grid


@pytest.mark.parametrize("name", ["cosine", "flow", "edm"])
def test_a_table_is_one_line_and_a_figure(name: str) -> None:
    table = ddpmx.SCHEDULES.build(name, timesteps=20, zero_terminal_snr=name == "cosine").table()
    assert str(table).startswith("Table(20 timesteps, log-SNR ")
    assert "\n" not in str(table)
    assert ("not variance preserving" in str(table)) == (name != "cosine")
    left, right = table.plot().axes
    assert [list(line.get_ydata()) for line in left.lines] == [table.signal.tolist(), table.sigma.tolist()]
    finite = [value for value in table.log_snr.tolist() if abs(value) < float("inf")]
    assert list(right.lines[0].get_ydata()) == finite
    ElementTree.fromstring(_svg(table._repr_html_()))


def test_a_plan_is_a_curve_of_its_rows() -> None:
    plan = ddpmx.Diffusion(timesteps=50, sampler={"name": "heun", "steps": 4}).plan()
    page = plan._repr_html_()
    assert f"Plan of {len(plan)} rows with {plan.evaluations} network evaluations" in page
    circles = ElementTree.fromstring(_svg(page)).findall("circle")
    heights = [float(circle.attrib["cy"]) for circle in circles]
    assert len(circles) == len(plan)
    assert heights == sorted(heights)  # noise falls, and the y axis of SVG points down


def test_a_run_is_its_numbers_and_its_samples(tmp_path: Path) -> None:
    run = ddpmx.Run(make_run(tmp_path / "a<b>", scores={"fd_cnn": score(5.25)}))
    page = run._repr_html_()
    assert "<th>fd_cnn</th><td>5.25</td>" in page
    assert "a&lt;b&gt;" in page
    import torch

    (run.folder / "samples").mkdir(exist_ok=True)
    grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)).save(run.folder / "samples" / "final.png")
    assert '<img src="data:image/png;base64,' in run._repr_html_()


def test_a_comparison_is_its_table_and_figures(tmp_path: Path) -> None:
    paths = [
        make_run(tmp_path, f"train.lr={lr}", scores={"fd_cnn": score(value)})
        for lr, value in ((1e-3, 5.0), (1e-4, 9.0))
    ]
    page = ddpmx.compare(paths)._repr_html_()
    assert page.count("<tr>") == 3
    assert "fd_cnn" in page
    assert "<figure><svg" in page


def _svg(page: str) -> str:
    """The first figure of a page, without the namespaces that its tags would have."""
    svg = page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")
