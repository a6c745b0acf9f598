"""SVG in pages: ddpmx's own figures are accepted, and nothing that could do more than draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY
from made_runs import make_run, per_t, score

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.figures import figures
from ddpmx.comparison.page import write_page
from ddpmx.pages import canvas, plots
from ddpmx.pages.page import inline_svg, inline_svg_of
from ddpmx.pages.report import write_report
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder

FIGURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    "<defs>{}</defs></svg>\n"
)
NASTY = {
    "script": "<script>alert(1)</script>",
    "prefixed script": '<x:script xmlns:x="http://www.w3.org/2000/svg">alert(1)</x:script>',
    "html": '<body xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></body>',
    "event": '<path d="M0 0" onload="alert(1)"/>',
    "foreign object": "<foreignObject><iframe/></foreignObject>",
    "title": "<title>&lt;img src=x onerror=alert(1)&gt;</title>",
    "link": '<a href="javascript:alert(1)"><text>here</text></a>',
    "external use": '<use xlink:href="http://example.com/a.svg#a"/>',
    "image": '<image href="http://example.com/track.png"/>',
    "animation": '<animate attributeName="href" to="javascript:alert(1)"/>',
    "url in a style": '<path d="M0 0" style="fill: url(http://example.com/a)"/>',
    "cover": '<text style="position: fixed; inset: 0">x</text>',
    "sheet": "<style>body{display:none}</style>",
    "import": '<style type="text/css">@import "http://example.com/a.css"</style>',
    "clip path elsewhere": '<g clip-path="url(http://example.com/a)"/>',
    "class of the page": '<svg class="status failed"/>',
    "comment that HTML ends sooner": "<!-- --!><script>alert(1)</script> -->",
    "instruction that HTML ends sooner": "<?x ><script>alert(1)</script> ?>",
    "cdata": "<![CDATA[<script>alert(1)</script>]]>",
    "growth by use": '<g id="a"><path d="M0 0"/></g>'
    '<g id="b"><use xlink:href="#a"/><use xlink:href="#a"/></g>',
}


def test_a_figure_stays_as_it_is() -> None:
    for content in (
        "",
        '<path id="m1" d="M0 0" style="fill: none; stroke-width: 1.6"/><use xlink:href="#m1" x="3" y="4"/>',
    ):
        assert inline_svg(FIGURE.format(content)) == FIGURE.format(content)


@pytest.mark.parametrize("name", NASTY)
def test_what_could_do_more_than_draw_is_refused(name: str) -> None:
    assert inline_svg(FIGURE.format(NASTY[name])) is None


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("loss.weighting={name: vlb, clip: 1.0}", "schedule.name=linear"),
        ("prediction=edm", "loss.weighting=edm", "sampler={name: edm, steps: 9}"),
        ("time={name: log_normal}",),
    ],
)
def test_every_figure_of_ours_passes(changes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    for name, figure in plots.spec_figures(load(tmp_path / "tiny.yaml", changes)).items():
        assert inline_svg(canvas.to_svg(figure)) is not None, name


def test_every_curve_of_a_report_passes(tmp_path: Path) -> None:
    """Including curves of many steps, and a metric's name with characters that need escaping."""
    run = RunFolder(make_run(tmp_path, "train.grad_clip=1.0", scores={"a<b>&'\"": score(2.0)}, epochs=3))
    for step in range(1, 700):
        run.add_event(
            {
                "event": "step",
                "epoch": 1,
                "step": step,
                "images": step,
                "loss": 1 / step,
                "lr": 1e-3,
                "grad_norm": 1e3 / step,
            }
        )
    run.add_event(per_t(3))
    report = write_report(run.path).read_text()
    assert report.count('"ddpmx-figure" role') == len(list(run.plots.glob("*.svg"))) == 5
    comparison = compare([run.path, make_run(tmp_path, "loss.norm=l1", scores={"a<b>&'\"": score(3.0)})])
    page = write_page(comparison, comparison.groups, tmp_path / "compare.html").read_text()
    plotted = sum(1 + len(one.over) for one in figures(comparison))
    assert page.count('"ddpmx-figure" role') == plotted > 2


def test_a_page_omits_a_foreign_svg_and_says_so(tmp_path: Path) -> None:
    run = RunFolder(make_run(tmp_path))
    (run.plots / "beta.svg").write_text(FIGURE.format(NASTY["script"]))
    (run.plots / "alpha_bar.svg").write_text(FIGURE.format(""))
    (run.plots / "log_snr.svg").write_bytes(b"\xff\xfe<svg")
    html = write_report(run.path).read_text()
    assert "alert(1)" not in html
    assert "plots/beta.svg is not shown" in html
    assert "plots/log_snr.svg is not shown" in html
    assert "plots/alpha_bar.svg is not shown" not in html


BOMBS = """
import resource, sys
from pathlib import Path
from ddpmx.pages.page import inline_svg_of
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before = peak()
figures = [inline_svg_of(file) for file in sorted(Path(sys.argv[1]).iterdir())]
print(len(figures), sum(svg is not None for svg in figures), peak() - before)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    entities = (
        '<!ENTITY a0 "'
        + "x" * 1000
        + '">'
        + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    )
    document, start = f"<!DOCTYPE svg [{entities}]>", '<svg xmlns="http://www.w3.org/2000/svg">'
    contents = {
        "entities": f"{document}{start}<text>&a9;</text></svg>",
        "entities within": f"<svg >{document}<text>&a9;</text></svg>",
        "levels": start + "<g>" * 600_000,
        "elements": start + "<g/>" * 450_000 + "<script/></svg>",
        "styles": f'{start}<path style="{"fill:fillfill" * 100_000}!"/></svg>',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    with (tmp_path / "large").open("wb") as file:
        file.write(start.encode())
        file.truncate(4_000_000_000)
    limited = ["sh", "-c", 'ulimit -t 60; exec "$@"', "sh", sys.executable, "-c", BOMBS, tmp_path]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, passed, memory = map(int, done.stdout.split())
    assert (refused, passed) == (len(contents) + 1, 0)
    assert memory < 1 << 29


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "beta.svg")
    assert inline_svg_of(tmp_path / "beta.svg") is None
