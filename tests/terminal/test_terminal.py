"""Standard output and standard error: any encoding works, nothing is printed raw, and failures are
messages."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from made_runs import make_run

from ddpmx.errors import ReaderGone, RunError
from ddpmx.pages.report import write_report
from ddpmx.process import out_of_memory
from ddpmx.storage.folder import RunFolder
from ddpmx.terminal import printing as terminal
from ddpmx.terminal.console import Bar, to_json
from ddpmx.text import LONGEST_LINE, MOST_LINES, message, shell_line

Run = Callable[..., Result]
HOSTILE = "a\x1b[31mb\x9bc\u202ed\u2028e\x7f"
SAFE = "a\\x1b[31mb\\x9bc\\u202ed\\u2028e\\x7f"


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `ddpmx` is the command line in a Python that starts fast."""
    ddpmx = f"'{sys.executable}' -m ddpmx"
    return subprocess.run(
        ["bash", "-c", command.replace("ddpmx", ddpmx)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=300,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_message() -> None:
    done = shell("ddpmx --help > /dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "failed: standard output cannot be written: No space left on device\n",
    )
    assert shell("ddpmx --help > /dev/full 2>&-").returncode == 1


def test_a_closed_standard_output_is_one_message() -> None:
    done = shell("ddpmx --version >&-")
    assert (done.returncode, done.stderr) == (
        1,
        "failed: standard output cannot be written: Bad file descriptor\n",
    )


def test_a_pipe_that_nobody_reads_ends_in_silence() -> None:
    done = shell("(sleep 0.2; ddpmx --help; echo $? >&2) | true")
    assert done.stderr == "141\n"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_failing_standard_error_changes_nothing(closed: str) -> None:
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert shell(f"ddpmx nowhere {closed}").returncode == 2


@pytest.mark.parametrize(("number", "raised"), [(28, RunError), (32, ReaderGone)])
def test_echo_says_that_standard_output_failed(
    number: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(number))
    with terminal.guarded(), pytest.raises(raised):
        terminal.echo("text")


def test_the_progress_of_a_run_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(32))
    with terminal.guarded(), Bar() as bar:
        bar.say("a line")
        bar.show("train", 1, 2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_holds_what_is_said(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    out, err = sys.stdout, sys.stderr
    text = "".join(map(chr, [*range(0x20, 0x3000), 0x1F600])) + "".join(terminal.PLAIN)
    with terminal.guarded():
        terminal.echo(text)
        with Bar() as bar:
            bar.say(text)
    for stream in (out, err):
        assert len(stream.buffer.getvalue().decode(encoding)) > len(text)  # type: ignore[attr-defined]


def test_a_character_that_is_missing_has_a_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.TextIOWrapper(io.BytesIO(), "ascii"))
    with terminal.guarded():
        terminal.echo("ᾱ ≤ 1 − σ² … é")
    assert out.buffer.getvalue() == b"alpha_bar <= 1 - sigma^2 ... \\xe9\n"  # type: ignore[attr-defined]


def test_json_is_exact_in_every_encoding(ddpmx: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unicode = ddpmx("list", "metric", "fd_cnn", "--json")
    assert "é" in unicode.out
    monkeypatch.setattr(terminal, "can_print", lambda text: text.isascii())
    monkeypatch.setattr("ddpmx.cli.options.can_print", lambda text: text.isascii())
    ascii_only = ddpmx("list", "metric", "fd_cnn", "--json")
    assert ascii_only.out.isascii()
    assert json.loads(ascii_only.out) == json.loads(unicode.out)


def test_json_keeps_hostile_text_but_not_raw() -> None:
    text = to_json({HOSTILE: [HOSTILE, "\ud800", "line\nend"]})
    assert json.loads(text) == {HOSTILE: [HOSTILE, "\ud800", "line\nend"]}
    assert all(char.isprintable() or char == "\n" for char in text)


def test_no_control_character_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.echo(f"{HOSTILE}\nnext")
    with Bar() as bar:
        bar.say(HOSTILE)
    shown = capsys.readouterr()
    assert shown.out == f"{SAFE}\nnext\n"
    assert shown.err == f"{SAFE}\n"


@pytest.mark.parametrize(
    "arguments",
    [["run", HOSTILE], ["sample", "-n", HOSTILE, "x"], ["list", HOSTILE], [HOSTILE], ["validate", HOSTILE]],
)
def test_no_message_repeats_them(ddpmx: Run, arguments: list[str]) -> None:
    said = ddpmx(*arguments)
    assert said.code == 2
    assert all(char.isprintable() or char == "\n" for char in said.out + said.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{}"],
        ["sample", "-n", "{}", "x"],
        ["list", "{}"],
        ["{}"],
        ["list", "schedule", "{}"],
        ["sample", "{}"],
        ["--{}"],
    ],
)
@pytest.mark.parametrize("text", ["x" * 200_000, "x\n" * 100_000])
def test_no_message_repeats_more_than_a_line(ddpmx: Run, arguments: list[str], text: str) -> None:
    said = ddpmx(*(argument.format(text) for argument in arguments))
    assert said.code == 2
    assert len(said.err) < 2_000


def test_a_printed_command_is_one_line_that_bash_reads_back() -> None:
    words = ["plain", "two words", "it's", "\x1b[31m\n\\'", "é\u202e", "\udcff", ""]
    line = shell_line(words)
    assert all(char.isprintable() for char in line)
    program = "import os, sys; print(list(map(os.fsencode, sys.argv[1:])))"
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -c '{program}' {line}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(done.stdout) == list(map(os.fsencode, words))


def test_a_message_is_bounded() -> None:
    text = message("x" * 1_000_000 + "\nshort\n" + "line\n" * 1_000_000)
    lines = text.split("\n")
    assert len(lines[0]) == LONGEST_LINE
    assert lines[1] == "short"
    assert len(lines) == MOST_LINES + 1


def test_a_page_holds_no_control_character(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    RunFolder(run).set_status("failed", HOSTILE)
    page = write_report(run).read_text(encoding="utf-8")
    assert all(char.isprintable() or char == "\n" for char in page)
    assert SAFE in page


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 149. GiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory: you tried to "
            "allocate 9 bytes."
        ),
        RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 160 bytes. Error code 12"
        ),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_command_says_that_memory_ran_out(
    ddpmx: Run, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing(*_: object) -> str:
        raise error

    monkeypatch.setattr("ddpmx.components.catalogue.listing", listing)
    said = ddpmx("list")
    assert said.code == 1
    assert said.err.startswith("failed: out of memory")
    assert out_of_memory.HINT in said.err


def test_a_fault_is_not_taken_for_it() -> None:
    assert not out_of_memory.caused(RuntimeError("shapes differ"))
    assert not out_of_memory.caused(ValueError("out of memory"))
    assert not out_of_memory.caused(OSError(28, "No space left on device"))
