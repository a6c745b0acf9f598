"""What a run shows: a bar with loss, speed, time left and the newest grid on a terminal; plain lines elsewhere and under CI."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, only_run
from rich.console import Console

from ddpmx import console

SCRIPT = """
from ddpmx.console import Bar
with Bar() as bar:
    bar.show("train", 3, 12, "loss 0.1234")
    bar.foot("samples: a.png")
    bar.say("a line")
"""


def terminal(**environment: str) -> str:
    """What the script writes to a terminal of its own."""
    clean = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")}
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", SCRIPT], stderr=theirs, env={**clean, "TERM": "xterm", **environment}, check=False)
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says so where others say "end of file"
            break
        if not chunk:
            break
        text += chunk
    os.close(ours)
    assert done.returncode == 0
    return text.decode()


def test_a_terminal_gets_a_bar_with_lines_around_it():
    text = terminal()
    for part in ("train", "3/12", "loss 0.1234", "samples: a.png", "a line", "\x1b["):
        assert part in text


def test_under_ci_a_terminal_gets_plain_lines():
    assert terminal(CI="true") == "a line\r\n"


def test_a_pipe_gets_plain_lines():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "a line\n")


def test_a_run_shows_loss_speed_time_left_and_its_newest_grid(
    ddpmx: Callable[..., Result], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, force_terminal=True, width=80, color_system=None))
    monkeypatch.setattr(console, "is_live", lambda: True)
    assert ddpmx("run", tiny, "--out", tmp_path / "runs").code == 0
    last = screen.getvalue().split("\n")[-3:]  # as it stood when the run ended
    assert re.search(r"train ━+ 12/12 \d:\d\d:\d\d loss \d\.\d{4}  [\d,]+ images/s", "\n".join(last))
    assert any(line.startswith("samples: ") for line in last)
    whole = screen.getvalue().replace("\n", "")
    assert "epoch    1  step      12" in whole
    assert f"samples: {tmp_path}"[:60] in whole
    assert (only_run(tmp_path / "runs") / "samples" / "epoch-0001.png").is_file()
