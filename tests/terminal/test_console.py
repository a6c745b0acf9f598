"""A run's progress: on a terminal a bar with loss, speed, time left and the newest grid; elsewhere plain
lines."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result, only_run
from rich.console import Console

from ddpmx.runs.forecast import Forecast
from ddpmx.spec import loading as spec_file
from ddpmx.terminal import console, progress, time_left
from ddpmx.training.experiment import build
from ddpmx.training.pacing import Pacing
from ddpmx.training.state import TrainState

SCRIPT = """
from ddpmx.terminal.console import Bar
with Bar() as bar:
    bar.show("train", 3, 12, "loss 0.1234")
    bar.foot("samples: a.png")
    bar.say("a line")
"""


def terminal(**environment: str) -> str:
    """The output of the script on a terminal of its own."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    }
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stderr=theirs,
        env={**clean, "TERM": "xterm", **environment},
        check=False,
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux reports the end of the file
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
    monkeypatch.setattr(
        console, "console", Console(file=screen, force_terminal=True, width=80, color_system=None)
    )
    monkeypatch.setattr(console, "is_live", lambda: True)
    assert ddpmx("run", tiny, "--out", tmp_path / "runs").code == 0
    last = screen.getvalue().split("\n")[-3:]  # the screen when the run ended
    assert re.search(r"train ━+ 12/12 \d:\d\d:\d\d loss \d\.\d{4}  [\d,]+ images/s", "\n".join(last))
    assert any(line.startswith("samples: ") for line in last)
    whole = screen.getvalue().replace("\n", "")
    assert "epoch    1  step      12" in whole
    assert f"samples: {tmp_path}"[:60] in whole
    assert (only_run(tmp_path / "runs") / "samples" / "epoch-0001.png").is_file()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def said(clock: Clock, seconds: int, total: int = 36_000) -> list[tuple[float, str]]:
    """The second at which each line came, and its text, for work of one part per second."""
    lines, found = time_left.TimeLeft(), []
    for done in range(1, seconds + 1):
        clock.now = float(done)
        if line := lines.line("train", done, total):
            found.append((clock.now, line))
    return found


def test_lines_with_the_time_left_are_few_and_become_fewer(clock: Clock):
    lines = said(clock, 36_000)
    moments = [moment for moment, _ in lines]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert 30 <= moments[0] <= 32
    assert gaps == sorted(gaps)
    assert gaps[0] == pytest.approx(60, abs=1)
    assert gaps[-1] == pytest.approx(600, abs=1)
    assert lines[0][1] == "train: 31 of 36,000, about 10 h left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1234, "0.12 s"),
        (45.6, "46 s"),
        (171, "2 min 50 s"),
        (754, "13 min"),
        (12_100, "3 h 20 min"),
        (111_600, "31 h"),
        (363_000, "4.2 days"),
    ],
)
def test_a_guess_has_few_digits(seconds: float, text: str):
    assert time_left.roughly(seconds) == text


def test_short_work_and_work_that_ends_say_nothing(clock: Clock):
    assert said(clock, 29, 30) == []
    assert len(said(clock, 100, 100)) == 2


def test_work_within_other_work_shares_its_lines(clock: Clock):
    """Sampling while training waits: at most one line a minute for both, and new work is timed from its
    start."""
    lines = time_left.TimeLeft()
    found = []
    for minute in range(10):
        for done in range(1, 41):
            clock.now = 60.0 * minute + done
            found += [clock.now] if lines.line("sample", done, 40) else []
        clock.now += 10
        found += [clock.now] if lines.line("train", 1 + minute, 20) else []
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(found))
    assert len(found) > 5


def test_a_resumed_runs_time_left_does_not_count_what_was_done_before(clock: Clock):
    lines = time_left.TimeLeft()
    assert lines.line("train", 900, 1000) == ""
    clock.now = 40.0
    assert lines.line("train", 910, 1000) == "train: 910 of 1,000, about 6 min 00 s left"


def test_without_a_terminal_bars_and_loops_say_lines(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console, "console", Console(stderr=True, highlight=False, soft_wrap=True))
    monkeypatch.setattr(progress, "console", console.console)
    with console.Bar() as bar, console.Bar(quiet=True) as silent:
        for done in range(1, 4):
            clock.now = 25.0 * done
            bar.show("sample", done, 10, "[note]")
            silent.show("sample", done, 10)
    assert capsys.readouterr().err == "sample: 3 of 10, about 3 min 00 s left  ([note])\n"
    for item in progress.track(range(4), "Training the classifier"):
        clock.now = 100.0 + 25 * item
    assert capsys.readouterr().err.startswith("Training the classifier: ")


@pytest.mark.parametrize(("first", "share"), [(0, 1.0), (6, 0.5)])
def test_the_estimate_at_the_start_is_that_of_the_network_passes(tiny: Path, first: int, share: float):
    """If a step of 64 images takes 192 s, a forward pass of one image takes 1 s."""
    spec = spec_file.load(
        tiny, ["evaluate={samples: 100, metrics: [pixel_fd]}", "sampler={name: ddim, steps: 7}"]
    )
    experiment = build(spec, torch.device("cpu"))
    pacing = Pacing.from_spec(spec, 1437, experiment.table)
    parts = Forecast(experiment, pacing, first).parts(192.0)
    assert parts["training"] == 192.0 * (12 - first)
    assert parts["sampling"] == pytest.approx(share * 3 * (4 + 100) + 7 * (4 + 8))
    assert parts["validation"] == pytest.approx(share * len(experiment.data.validation))


def test_the_estimate_is_said_once_after_a_few_steps_and_warns_of_days(tiny: Path):
    spec = spec_file.load(tiny, ["train.patience=3"])
    experiment = build(spec, torch.device("cpu"))
    pacing = Pacing.from_spec(spec, 1437, experiment.table)
    for step, warning in ((0.2, False), (90_000.0, True)):
        forecast, lines = Forecast(experiment, pacing, 0), []
        for number in range(1, 13):  # the first two steps are slow
            lines.append(forecast.update(TrainState(step=number, batch=number, seconds=step * (number + 40))))
        (line,) = filter(None, lines)
        assert lines.index(line) == 6
        assert line.startswith("warning: ") == warning
        assert " at most on 1 core: training " in line
    assert "training 12 days" in line


def test_a_run_says_its_estimate(ddpmx: Callable[..., Result], tiny: Path, tmp_path: Path):
    result = ddpmx("run", tiny, "--out", tmp_path)
    assert (
        len(re.findall(r"^estimated time: about \S.* on \d+ cores?: training .*$", result.err, re.MULTILINE))
        == 1
    )
