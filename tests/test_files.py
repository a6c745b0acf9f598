"""Reading files that a user names, with one message for every obstacle; and making text from outside safe to
show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddpmx import files
from ddpmx.errors import SpecError
from ddpmx.text import shortened, visible


def test_control_characters_and_lone_surrogates_become_visible() -> None:
    assert visible("a\x1b[31mb\n\ud800\u202e") == "a\\x1b[31mb\\n\\ud800\\u202e"
    assert visible("é ü 日本") == "é ü 日本"


@pytest.mark.parametrize("length", [0, 199, 200, 201, 10_000_000])
def test_long_text_is_shortened(length: int) -> None:
    assert len(shortened("x" * length)) == min(length, 200)


def test_shortened_bounds_what_escapes_grow_to() -> None:
    assert len(shortened("\x1b" * 150)) == 200


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "pipe", "device", "dangling", "loop", "large", "latin"]
)
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
