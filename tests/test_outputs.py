"""Writing outputs: obstacles are found before the work, and nothing is left incomplete or replaced by
mistake."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from ddpmx import outputs
from ddpmx.errors import RunError, SpecError

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def place(kind: str, folder: Path) -> Path:
    """A path with an obstacle."""
    (folder / "plain").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling").symlink_to(folder / "nowhere")
    return {
        "folder": folder,
        "under_a_file": folder / "plain" / "x",
        "deep_under_a_file": folder / "plain" / "new" / "x",
        "under_a_loop": folder / "loop" / "x",
        "loop": folder / "loop",
        "long_name": folder / ("n" * 300),
        "long_folder": folder / "new" / ("n" * 300) / "x",
        "long_path": folder / "/".join(["n" * 100] * 60),
        "no_name": folder / "null\0",
        "proc": Path("/proc/ddpmx"),
        "sys": Path("/sys/ddpmx"),
        "read_only": Path("/proc/version"),
    }[kind]


PLACES = (
    "under_a_file",
    "deep_under_a_file",
    "under_a_loop",
    "long_name",
    "long_folder",
    "long_path",
    "no_name",
)


@pytest.mark.parametrize("kind", ["folder", "loop", "proc", "sys", *PLACES])
def test_an_obstacle_to_a_file_is_found_before_the_work(kind: str, tmp_path: Path) -> None:
    path = place(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match="--out: ") as checked:
        outputs.check(path, "--out")
    with pytest.raises(SpecError, match="--out: "):
        outputs.write(path, "text", "--out")
    assert len(str(checked.value)) < 400
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["proc", "sys", "read_only", "loop", *PLACES])
def test_an_obstacle_to_a_folder_is_found_before_the_work(kind: str, tmp_path: Path) -> None:
    path = place(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match="--out: "):
        outputs.check_folder(path, "--out")
    with pytest.raises(SpecError, match="--out: "), outputs.whole_folder(path, "--out"):
        pytest.fail("it was opened")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["new", "new/below/it", "é" * 127, "dangling", "dangling/below"])
def test_what_can_be_written_is_checked_without_a_trace(name: str, tmp_path: Path) -> None:
    place("folder", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    outputs.check(tmp_path / name)
    outputs.check_folder(tmp_path / name, "--out")
    assert sorted(tmp_path.rglob("*")) == before
    outputs.write(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    assert (tmp_path / "dangling").is_symlink()


def test_links_are_followed_and_keep_their_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    outputs.check(link)
    outputs.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_devices_are_written_into(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    outputs.check(link)
    outputs.write(link, "text")
    assert stat.S_ISCHR(link.stat().st_mode)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fill() -> None:
        with outputs.whole(tmp_path / "out") as place:
            place.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_into_when_it_has_a_reader(tmp_path: Path) -> None:
    pipe, said = tmp_path / "pipe", []
    os.mkfifo(pipe)
    outputs.check(pipe)  # does not wait for a reader
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    outputs.write(pipe, "text")
    reader.join(60)
    assert said == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_a_process_has_open_is_added_to(tmp_path: Path) -> None:
    with (tmp_path / "shown").open("wb", buffering=0) as file:
        file.write(b"before ")
        opened = Path(f"/proc/self/fd/{file.fileno()}")
        outputs.check(opened)
        outputs.write(opened, "text")
    assert (tmp_path / "shown").read_text() == "before text"


@needs_full
def test_a_full_disk_is_the_disks_fault_and_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(FULL)
    for path in (FULL, tmp_path / "link"):
        with pytest.raises(RunError, match=f"{path} cannot be written: No space left"):
            outputs.write(path, "text")
    assert (tmp_path / "link").is_symlink()


def test_a_read_only_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    opened = os.open

    def refused(
        file: str | Path, flags: int, *rest: int
    ) -> int:  # the tests may run as root, who may write everywhere
        if Path(file) == path and flags & os.O_WRONLY:
            raise PermissionError(13, "Permission denied")
        return opened(file, flags, *rest)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(SpecError, match="Permission denied"):
        outputs.check(path, "--out")
    with pytest.raises(SpecError, match="Permission denied"):
        outputs.write(path, "new", "--out")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def is_ours(entry: Path) -> bool:
    return entry.name.startswith("ours")


def fill(path: Path, *names: str, last: str = "") -> None:
    with outputs.whole_folder(path, "--out", is_ours, last) as folder:
        for name in names:
            (folder / name).write_text(name)


@pytest.mark.parametrize("kind", ["new", "below/a/new", "empty", "link", "dangling", "cwd", "ours"])
def test_a_folder_holds_what_was_written_and_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind in ("empty", "cwd", "ours"):
        path.mkdir(mode=0o700)
    if kind == "ours":
        (path / "ours of before").write_text("")
    if kind == "link":
        (tmp_path / "target").mkdir()
        path.symlink_to(tmp_path / "target")
    if kind == "dangling":
        path.symlink_to(tmp_path / "target")
    if kind == "cwd":
        monkeypatch.chdir(path)
        path = Path()
    fill(path, "ours 1", "ours 2", last="ours 1")
    assert sorted(entry.name for entry in path.iterdir()) == ["ours 1", "ours 2"]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    if kind in ("empty", "cwd", "ours"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    if kind == "cwd":
        assert Path.cwd() == tmp_path / "cwd"
        assert len(list(Path().iterdir())) == 2


def test_a_folder_with_anything_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("precious")
    with pytest.raises(SpecError, match="is not empty: it contains a file"):
        outputs.check_folder(tmp_path, "--out", is_ours)
    with pytest.raises(SpecError, match="is not empty: it contains a file"):
        fill(tmp_path, "ours")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a file"]


def fail(path: Path, error: BaseException) -> None:
    with outputs.whole_folder(path, "--out", is_ours) as folder:
        (folder / "half").write_text("")
        raise error


@pytest.mark.parametrize("kind", ["new", "empty", "ours"])
def test_a_folder_that_fails_is_as_before_and_does_not_block_the_next(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    if kind != "new":
        path.mkdir()
    if kind == "ours":
        (path / "ours of before").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for error, raised in ((KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), RunError)):
        with pytest.raises(raised):
            fail(path, error)
        assert sorted(tmp_path.rglob("*")) == before
    stale = (tmp_path if kind != "ours" else path) / f"{outputs.STAGING}out.1"  # left by a killed process
    stale.mkdir()
    (stale / "half").write_text("")
    fill(path, "ours")
    assert sorted(tmp_path.rglob("*")) == [path, path / "ours"]


def test_what_comes_into_the_folder_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()

    def meanwhile() -> None:
        with outputs.whole_folder(path, "--out", is_ours) as folder:
            (folder / "ours").write_text("new")
            (path / "precious").write_text("theirs")

    with pytest.raises(SpecError, match="not empty"):
        meanwhile()
    assert [entry.name for entry in path.iterdir()] == ["precious"]


def test_a_folder_that_another_process_fills_is_not_stale(tmp_path: Path) -> None:
    with outputs.whole_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("")
        assert not outputs._is_stale(folder)
        outputs.check_folder(tmp_path / "out", "--out")
    assert (tmp_path / "out" / "a").exists()
