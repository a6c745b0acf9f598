"""Reading and writing what a user names: every obstacle is one message, and links and devices are what they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ddpmx import files, outputs
from ddpmx.errors import RunError, SpecError
from ddpmx.text import shortened, visible


def test_control_characters_and_lone_surrogates_become_visible() -> None:
    assert visible("a\x1b[31mb\n\ud800\u202e") == "a\\x1b[31mb\\n\\ud800\\u202e"
    assert visible("é ü 日本") == "é ü 日本"


@pytest.mark.parametrize("length", [0, 199, 200, 201, 10_000_000])
def test_long_text_is_shortened(length: int) -> None:
    assert len(shortened("x" * length)) == min(length, 200)


def test_shortened_bounds_what_escapes_grow_to() -> None:
    assert len(shortened("\x1b" * 150)) == 200


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "dangling", "loop", "large", "latin"])
def test_what_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "loop": lambda: path.symlink_to(path),
        "large": lambda: path.write_bytes(b"x" * 11),
        "latin": lambda: path.write_bytes(b"\xe9"),
    }[kind]()
    with pytest.raises(SpecError, match="file"):
        files.read_text(path, 10)


def test_json_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(SpecError, match=r"deep\.json is nested too deep"):
        files.read_json(path)
    path.write_text('{"a": 1}')
    assert files.read_json(path) == {"a": 1}


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert files.expanded("~/x") == Path("/home/somebody/x")
    with pytest.raises(SpecError, match="no_such_user_here"):
        files.expanded("~no_such_user_here/x")


@pytest.mark.parametrize("kind", ["folder", "under_a_file", "long_name", "loop"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(kind: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = {
        "folder": tmp_path,
        "under_a_file": tmp_path / "plain" / "x",
        "long_name": tmp_path / ("n" * 300),
        "loop": tmp_path / "loop",
    }[kind]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SpecError, match="--out"):
        outputs.check(path, "--out")
    with pytest.raises(SpecError, match="--out"):
        outputs.write(path, "text", "--out")
    assert sorted(tmp_path.iterdir()) == before


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_the_disks_fault() -> None:
    with pytest.raises(RunError, match="/dev/full cannot be written: No space left"):
        outputs.write(Path("/dev/full"), "text")


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fill() -> None:
        with outputs.whole(tmp_path / "out") as place:
            place.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list(tmp_path.iterdir()) == []
