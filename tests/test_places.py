"""Every command that writes, to every kind of path: one message before the work, the right exit code, and
nothing left behind."""

from __future__ import annotations

import csv
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result
from made_runs import make_run, score
from PIL import Image

from ddpmx.comparison.files import OPTIONS
from ddpmx.images import is_sample
from ddpmx.runs.run import run as run_spec
from ddpmx.spec.loading import load

Run = Callable[..., Result]
FULL = Path("/dev/full")
COMPARE = tuple(f"compare {option}" for option in OPTIONS)
WRITERS = ("sample .png", "sample .npz", "sample .gif", "sample", *COMPARE, "show")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with results, which tests must not change."""
    return make_run(tmp_path_factory.mktemp("made"), scores={"fd_cnn": score(3.0)})


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    spec = load(folder / "tiny.yaml", ["train.steps=2", "evaluate.grid=1"])
    return run_spec(spec, out=folder, device=torch.device("cpu"))


@pytest.fixture
def trained(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with weights; each test has a copy of its own."""
    return Path(shutil.copytree(trained_once, tmp_path_factory.mktemp("run") / "run", symlinks=True))


def arguments(writer: str, path: Path, run: Path) -> tuple[list[str | Path], Path]:
    """The command line that writes to `path`, and the path with the suffix that the writer needs."""
    command, _, how = writer.partition(" ")
    page = how == "--html" or command == "show"
    path = path.with_name(path.name + (".html" if page else "" if how.startswith("--") else how))
    if command == "sample":
        return ["sample", run, "-n", "4", "--steps", "2", "--out", path], path
    if command == "compare":
        return ["compare", run, how, path], path
    return ["show", run / "spec.yaml", "--out", path], path


def obstacle(kind: str, path: Path) -> Path:
    """Put an obstacle at the path. Returns the path that the message should name."""
    if kind == "folder":
        path.mkdir()
        (path / "precious").write_text("")
    elif kind == "loop":
        path.symlink_to(path)
    return path


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {entry: entry.read_bytes() if entry.is_file() else None for entry in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["folder", "loop", "under_a_file", "long_name", "proc"])
def test_an_obstacle_is_named_before_the_work(
    ddpmx: Run, made: Path, tmp_path: Path, writer: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    for name in (
        "ddpmx.runs.sample.open_run",
        "ddpmx.comparison.comparison.compare",
        "ddpmx.runs.show.check",
    ):
        monkeypatch.setattr(name, work)
    (tmp_path / "plain").write_text("")
    places = {
        "under_a_file": tmp_path / "plain" / "x",
        "long_name": tmp_path / ("n" * 260),
        "proc": Path("/proc/ddpmx"),
    }
    command, path = arguments(writer, places.get(kind, tmp_path / "x"), made)
    obstacle(kind, path)
    before = tree(tmp_path)
    said = ddpmx(*command)
    assert said.code == 2, said.err
    assert said.err.startswith("error: --")
    assert said.err.count("\n") == 1
    assert path.name[:40] in said.err
    assert tree(tmp_path) == before


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("writer", [*COMPARE, "show"])
def test_a_full_disk_is_exit_code_1_and_its_link_stays(
    ddpmx: Run, made: Path, tmp_path: Path, writer: str
) -> None:
    command, path = arguments(writer, tmp_path / "x", made)
    path.symlink_to(FULL)
    said = ddpmx(*command)
    assert (said.code, said.err) == (1, f"failed: {path} cannot be written: No space left on device\n")
    assert path.is_symlink()
    assert stat.S_ISCHR(FULL.stat().st_mode)


@pytest.mark.parametrize("kind", ["missing", "file", "link", "dangling", "device"])
def test_every_kind_of_sample_goes_where_it_should(
    ddpmx: Run, trained: Path, tmp_path: Path, kind: str
) -> None:
    for writer in ("sample .png", "sample .npz", "sample .gif", "sample"):
        folder = tmp_path / kind / writer.split()[-1].lstrip(".")
        folder.mkdir(parents=True)
        command, path = arguments(writer, folder / ("new/x" if kind == "missing" else "x"), trained)
        if writer == "sample" and kind in ("file", "device"):
            continue
        if kind == "file":
            path.write_text("old")
        elif kind in ("link", "dangling"):
            path.symlink_to(folder / "target")
            if kind == "link":
                (folder / "target").mkdir() if writer == "sample" else (folder / "target").write_text("old")
        elif kind == "device":
            path.symlink_to("/dev/null")
        said = ddpmx(*command)
        assert (said.code, said.out) == (0, f"{path}\n"), said.err
        assert path.is_symlink() == (kind in ("link", "dangling", "device"))
        if kind == "device":
            assert stat.S_ISCHR(path.stat().st_mode)
        elif writer == "sample":
            assert sorted(file.name for file in path.iterdir()) == [f"{index:06d}.png" for index in range(4)]
        elif writer == "sample .npz":
            assert np.load(path)["images"].shape == (4, 8, 8, 1)
        else:
            with Image.open(path) as image:
                image.load()
        assert not list(tmp_path.rglob(".*.[0-9]*"))


def test_samples_replace_samples_and_nothing_else(
    ddpmx: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "samples"
    assert ddpmx("sample", trained, "-n", "5", "--steps", "2", "--out", out).code == 0
    assert ddpmx("sample", trained, "-n", "3", "--steps", "2", "--out", out).code == 0
    # None of the five former samples is left.
    assert sorted(file.name for file in out.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    with Image.open(out / "000000.png") as image:
        image.save(out / "000000.png")  # this removes the note by which ddpmx recognises its samples
    assert not is_sample(out / "000000.png")
    for name, work in (("samples", out), (".", tmp_path)):
        monkeypatch.chdir(tmp_path)
        before = tree(work)
        said = ddpmx("sample", trained, "-n", "1", "--steps", "2", "--out", name)
        assert said.code == 2
        assert "is not empty" in said.err
        assert "name a new folder" in said.err
        assert tree(work) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert ddpmx("sample", trained, "-n", "1", "--steps", "2", "--out", ".").code == 0
    assert [file.name for file in Path().iterdir()] == ["000000.png"]


def test_a_table_goes_into_what_a_shell_has_open(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    with (tmp_path / "shown").open("wb", buffering=0) as file:
        file.write(b"before\n")
        assert ddpmx("compare", made, "--csv", f"/proc/self/fd/{file.fileno()}").code == 0
    before, *rows = (tmp_path / "shown").read_text().splitlines()
    assert before == "before"
    assert len(list(csv.reader(rows))) == 2


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(OPTIONS, 2)])
def test_two_results_in_one_file_are_refused(
    ddpmx: Run, made: Path, tmp_path: Path, first: str, second: str
) -> None:
    said = ddpmx("compare", made, second, tmp_path / "x.html", first, tmp_path / "." / "x.html")
    assert (said.code, list(tmp_path.iterdir())) == (2, [])
    assert said.err == f"error: {second}: names the same file as {first}\n"


def test_a_page_of_another_name_is_refused_before_the_work(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    said = ddpmx("compare", made / "no run", "--html", tmp_path / "x.txt", "--csv", tmp_path / "x.csv")
    assert (said.code, list(tmp_path.iterdir())) == (2, [])
    assert said.err == "error: --html: should end in .html, not 'x.txt'\n"


def test_evaluate_looks_before_it_measures(
    ddpmx: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr("ddpmx.runs.grid.measure", work)
    (trained / "report.html").unlink()
    (trained / "report.html").mkdir()
    said = ddpmx("evaluate", trained, "--metrics", "pixel_fd", "-n", "8")
    assert said.code == 2
    assert "report.html is not a file" in said.err


def test_a_disk_that_fills_up_leaves_a_run_as_it_was(
    ddpmx: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(trained / "metrics.jsonl"))

    before = tree(trained)
    monkeypatch.setattr("ddpmx.storage.folder.RunFolder.add_event", full)
    said = ddpmx("evaluate", trained, "--metrics", "pixel_fd", "-n", "8")
    assert said.code == 1
    assert said.err.splitlines()[-1] == f"failed: {trained}/metrics.jsonl: No space left on device"
    assert "Traceback" not in said.err
    assert tree(trained) == before
