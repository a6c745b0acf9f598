"""A stranger's files cannot write elsewhere, fill the memory, take forever, or put code into a page."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import TINY, Result
from made_runs import ENVIRONMENT, make_run, score
from PIL import Image

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.page import write_page
from ddpmx.pages.report import write_report
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
LEAST = 1 << 30
"""Bytes; any of the bombs would take more."""


# Links


@pytest.mark.parametrize(
    "entry",
    [
        "samples",
        "plots",
        "checkpoints",
        "metrics.jsonl",
        ".lock",
        "report.html",
        "samples/final.png",
        "checkpoints/last",
    ],
)
@pytest.mark.parametrize("command", ["sample", "evaluate", "run", "track"])
def test_links_out_of_a_run_are_not_written_through(
    ddpmx: Run, tmp_path: Path, entry: str, command: str
) -> None:
    run = make_run(tmp_path / "runs")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    link = run / entry
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(outside / "precious" if link.suffix or entry == ".lock" else outside)
    arguments = {
        "sample": [run],
        "evaluate": [run],
        "run": [tmp_path / "runs" / "tiny.yaml", "--run", run],
        "track": [run, "--to", "jsonl"],
    }
    result = ddpmx(command, *arguments[command])
    assert result.code == 2, result.err
    assert "is a link out of the run's folder" in result.err
    assert [file.name for file in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "mine"


def test_links_inside_a_run_are_its_own(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "checkpoints" / "7").mkdir()
    (run / "checkpoints" / "last").symlink_to("7")
    (run / "wandb" / "logs").mkdir(parents=True)
    (run / "wandb" / "logs" / "debug.log").symlink_to(tmp_path / "elsewhere")  # like wandb's own links
    moved = tmp_path / "moved"
    run.rename(moved)
    (tmp_path / "link").symlink_to(moved)
    assert RunFolder(tmp_path / "link").spec_data()["name"] == "tiny"


@pytest.mark.parametrize("name", ["../../etc", "/tmp/x", "..", "a/b", "~", "a\\b", ".hidden", ""])
def test_no_name_leads_out_of_the_run_root(ddpmx: Run, tiny: Path, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    for command in (("run", tiny, "--out", tmp_path / "a" / "runs"), ("validate", tiny), ("show", tiny)):
        result = ddpmx(*command, "-s", f"name={json.dumps(name)}")
        assert result.code == 2
        assert "name" in result.err
        assert sorted(tmp_path.rglob("*")) == before


# Bombs


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes, rows: bytes = b"\0\0") -> bytes:
    """A grey PNG that claims this size, whatever it contains."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def bombs(folder: Path) -> dict[str, str]:
    """The `dataset:` of each spec, by what is wrong with the data."""
    huge = zlib.compress(bytes(2 * LEAST >> 2), 9)  # 512 MB of zeros
    images = {
        "50k x 50k": png(50_000, 50_000),
        "9k x 9k of nothing": png(9_000, 9_000, rows=bytes(9_000 * 9_001)),
        "profile": png(8, 8, chunk(b"iCCP", b"p\0\0" + huge), rows=bytes(72)),
        "text": png(8, 8, chunk(b"zTXt", b"t\0\0" + huge), rows=bytes(72)),
        "translated text": png(8, 8, chunk(b"iTXt", b"t\0\1\0\0\0" + huge), rows=bytes(72)),
        "many texts": png(
            8, 8, *[chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(1_000_000), 9))] * 200, rows=bytes(72)
        ),
    }
    for name, content in images.items():
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(content)
    table = pa.table({"image": [{"bytes": png(8, 8, rows=bytes(72)), "path": None}] * 50})
    pq.write_table(table, folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "footer.parquet").write_bytes(whole[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")
    (folder / "zeros.parquet").write_bytes(whole[:100] + bytes(len(whole) - 200) + whole[-100:])
    found = {name: f"{{name: image_folder, path: {name}}}" for name in images}
    return found | {file: f"{{name: parquet, path: {file}.parquet}}" for file in ("cut", "footer", "zeros")}


SCRIPT = """
import resource, sys
import torch, datasets, PIL.Image
from ddpmx.cli import main
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
out, *specs = sys.argv[1:]
before = peak()
for spec in specs:
    sys.argv = ["ddpmx", "run", spec, "--out", out, "--device", "cpu"]
    try:
        main()
    except SystemExit as stop:
        print(stop.code, peak() - before, flush=True)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Run all in one process, with the peak memory after each. The system limits the processor time."""
    specs = {
        name: TINY.replace("dataset: digits", f"dataset: {data}") for name, data in bombs(tmp_path).items()
    }
    specs |= {
        "lists": "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"b{i}: &b{i} [{','.join(['*' + ('a' if i == 0 else f'b{i - 1}')] * 9)}]\n" for i in range(9)
        ),
        "values": "a: [" + "x," * 140_000 + "x]\n",
        "keys": "".join(f"k{i}: 1\n" for i in range(25_000)),
        "levels": "a: " + "[" * 290_000,
        "documents": "---\n" * 70_000,
        "extends": "extends: [e0.yaml, e0.yaml]\n",
        "device": "extends: /dev/zero\n",
        "plugin": TINY + "plugins: [zero.py]\n",
    }
    for depth in range(40):
        (tmp_path / f"e{depth}.yaml").write_text(f"extends: [e{depth + 1}.yaml, e{depth + 1}.yaml]\n")
    (tmp_path / "e40.yaml").write_text(TINY)
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    files = []
    for name, text in specs.items():
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(text)
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(100_000_000)
    files.append(tmp_path / "large.yaml")
    limited = [
        "sh",
        "-c",
        'ulimit -t 120; exec "$@"',
        "sh",
        sys.executable,
        "-c",
        SCRIPT,
        tmp_path / "runs",
        *files,
    ]
    environment = {**os.environ, "DDPMX_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(limited, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    ended = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert dict(
        zip([file.stem for file in files], [code for code, _ in ended], strict=True)
    ) == dict.fromkeys([file.stem for file in files], 2)
    assert "Traceback" not in done.stderr
    assert max(peak for _, peak in ended) < LEAST
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    "path",
    [
        "{}/secret.png",
        pytest.param("../secret.png", marks=pytest.mark.slow),
        pytest.param("file://{}/secret.png", marks=pytest.mark.slow),
        pytest.param("simplecache::file://{}/secret.png", marks=pytest.mark.slow),
    ],
)
def test_a_row_names_no_file_outside_of_its_data(ddpmx: Run, tiny: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "set" / "own.png")
    tiny.write_text(
        TINY.replace("dataset: digits", "dataset: {name: parquet, path: set}").replace(
            "steps: 12", "steps: 1"
        )
    )
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": path.format(tmp_path)}] * 40}),
        tmp_path / "set" / "train.parquet",
    )
    result = ddpmx("run", tiny, "--out", tmp_path / "runs")
    assert result.code == 2
    assert "secret.png" in result.err
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": "own.png"}] * 40}), tmp_path / "set" / "train.parquet"
    )
    assert ddpmx("run", tiny, "--dry-run").code == 0


def test_images_that_fill_the_memory_are_refused(
    ddpmx: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    for k in range(8):
        Image.fromarray(np.full((64, 64), k, np.uint8)).save(tmp_path / "pictures" / f"{k}.png")
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: image_folder, path: pictures}"))
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}
    monkeypatch.setattr("ddpmx.data.decode.os.sysconf", sizes.__getitem__)
    result = ddpmx("run", tiny, "--out", tmp_path / "runs")
    assert result.code == 2
    assert "5.png fill half of this machine's memory" in result.err  # the sixth 4,096 bytes of half of 40,960


# Pages


def test_pages_leave_huge_pictures_out(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "runs"), make_run(tmp_path / "runs", "loss.norm=l1")]
    for name in ("epoch-0001", "final", "denoising"):
        (runs[0] / "samples" / f"{name}.png").write_bytes(png(50_000, 50_000))
    comparison = compare(runs)
    for page in (write_report(runs[0]), write_page(comparison, comparison.groups, tmp_path / "compare.html")):
        assert not [tag for tag, _ in Tags(page.read_text()).found if tag == "img"]


class Tags(HTMLParser):
    """Collects each tag of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_pages_show_a_strangers_text_as_text(ddpmx: Run, tmp_path: Path) -> None:
    """Classes, an image folder, a tracker's group, metrics, splits and reasons with code that a browser would
    run."""
    script, image = "<script>alert(1)<%2fscript>", "<img src=x onerror=alert(1)>"
    for number, name in enumerate([script.replace("%2f", "_"), image]):
        folder = tmp_path / image / name
        folder.mkdir(parents=True)
        for k in range(12):
            Image.fromarray(np.full((8, 8), 20 * k + number, np.uint8)).save(folder / f"{k}{image}.png")
    data = ("dataset=null", f"dataset={{name: image_folder, path: {json.dumps(str(tmp_path / image))}}}")
    tracked = (
        f"track=[{{name: wandb, mode: offline, project: {json.dumps(script)}, group: "
        f"{json.dumps(image)}, tags: [{json.dumps(script)}]}}]"
    )
    scored = {image: score(1.0, split=script, preprocessing=image, interval_note=script, extractor=image)}
    run = RunFolder(make_run(tmp_path / "runs", *data, tracked, "name=odd", scores=scored))
    facts = {
        "data": {**ENVIRONMENT["data"], "name": script, "classes": [script, image]},
        script: image,
        "command": script,
    }  # type: ignore[dict-item]
    run.write_json("environment.json", {**ENVIRONMENT, **facts})
    run.set_status("failed", image)
    comparison = compare([run.path, make_run(tmp_path / "runs", scores=scored)])
    pages = [
        write_report(run.path),
        write_page(comparison, comparison.groups, tmp_path / "compare.html"),
        tmp_path / "show.html",
    ]
    spec = tmp_path / "odd.yaml"
    spec.write_text((run.path / "spec.yaml").read_text())
    shown = ddpmx("show", spec, "--out", pages[-1])
    assert shown.code == 0, shown.err
    for page in pages:
        tags = Tags(page.read_text()).found
        assert sum(tag == "script" for tag, _ in tags) == 1, page
        assert not [tag for tag, attributes in tags if any(name.startswith("on") for name in attributes)], (
            page
        )
        assert {str(attributes["src"]).split(":")[0] for tag, attributes in tags if tag == "img"} <= {
            "data"
        }, page
    assert "&lt;img src=x onerror=alert(1)&gt;" in pages[0].read_text()
