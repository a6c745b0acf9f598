"""Signals at any moment between start and end give an exit code and a message, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ddpmx.process.interrupts import PARENT, _importer
from ddpmx.process.stop import StopSignal

PROGRAM = """
import importlib.abc, os, signal, sys, threading, time
sys.argv = ["ddpmx", "schema"]
name, numbers = {name!r}, {numbers!r}
class Finder(importlib.abc.MetaPathFinder):  # a signal comes while a module is being looked for
    def find_spec(self, found, path, target=None):
        if found == name:
            sys.meta_path.remove(self)
            for number in numbers:
                os.kill(os.getpid(), number)
            sum(range(1000))  # Python looks for signals between two instructions
        return None
sys.meta_path.insert(0, Finder())
from ddpmx.__main__ import main
main()
"""


def program(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["ddpmx.cli", "click", "ddpmx.plugins.loading", "ddpmx.spec.schema"])
def test_a_signal_while_modules_are_loaded(module: str, number: int) -> None:
    done = program(PROGRAM.format(name=module, numbers=[int(number)]))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_two_signals_while_modules_are_loaded() -> None:
    done = program(PROGRAM.format(name="ddpmx.spec.schema", numbers=[int(signal.SIGINT)] * 2))
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


WORK = """
import os, signal, sys
from ddpmx.components import catalogue
from ddpmx.__main__ import main
sys.argv = ["ddpmx", "list"]
def listing(*_):
{work}
catalogue.listing = listing
main()
"""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", "\ninterrupted\n"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "\ninterrupted\n"),
        ("os.kill(os.getpid(), signal.SIGHUP)", "\ninterrupted\n"),
        # A second signal interrupts the clean-up after the first one, but a second SIGHUP does not.
        (
            "try: os.kill(os.getpid(), signal.SIGINT)\n"
            "finally: os.kill(os.getpid(), signal.SIGINT); print('cleaned')",
            "interrupted\n",
        ),
        (
            "try: os.kill(os.getpid(), signal.SIGHUP)\n"
            "finally: os.kill(os.getpid(), signal.SIGHUP); print('cleaned')",
            "\ninterrupted\n",
        ),
        # A signal that is lost in a destructor is sent again.
        (
            "import time\nclass Lost:\n"
            "  def __del__(self): os.kill(os.getpid(), signal.SIGINT); sum(range(1000))\n"
            "Lost()\nwhile True: time.sleep(0.01)",
            "\ninterrupted\n",
        ),
    ],
)
def test_a_signal_during_the_work(work: str, said: str) -> None:
    done = program(WORK.format(work=textwrap.indent(work, " ")))
    assert (done.returncode, done.stderr) == (130, said)
    assert ("cleaned" in done.stdout) == ("SIGHUP" in work and "cleaned" in work)


def test_ignored_signals_stay_ignored() -> None:
    ignored = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    )
    work = " for number in (signal.SIGHUP, signal.SIGINT): os.kill(os.getpid(), number)\n return 'through'"
    done = program(ignored + WORK.format(work=work))
    assert (done.returncode, done.stdout) == (0, "through\n")


def test_a_signal_after_the_work_keeps_the_exit_code() -> None:
    late = (
        "import atexit, os, signal\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), sum(range(1000))))\n"
    )
    done = program(late + WORK.format(work=" return 'through'"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "through\n", "")


def test_a_process_ends_with_the_one_that_started_it() -> None:
    """Kill the middle one of three processes."""
    work = WORK.format(work=" import time\n print(os.getpid(), flush=True)\n while True: time.sleep(0.01)")
    starter = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {work!r}], env={{**os.environ, {PARENT!r}: str(os.getpid())}}).wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        _, said = process.communicate(timeout=300)  # also waits for the child, which has the pipes open
    assert said == "\ninterrupted\n"


def test_what_it_may_not_outlive_is_not_handed_on() -> None:
    done = program(
        WORK.format(work=f" return repr(os.environ.get({PARENT!r}))"), **{PARENT: str(os.getpid())}
    )
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_the_importer_is_the_outermost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_module.py").write_text("import inner_module\nfound = inner_module.found\n")
    (tmp_path / "inner_module.py").write_text(
        "import sys\nfrom ddpmx.process.interrupts import _importer\nfound = _importer(sys._getframe())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import outer_module  # type: ignore[import-not-found]

    assert outer_module.found == __name__
    assert _importer(sys._getframe()) == ""


@pytest.mark.parametrize(
    ("numbers", "at_once"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGHUP] * 3, False),
        ([signal.SIGINT, signal.SIGTERM], False),
        ([signal.SIGTERM, signal.SIGHUP], False),
        ([signal.SIGINT] * 2, True),
        ([signal.SIGTERM] * 2, True),
    ],
)
def test_a_stop_is_asked_for_once(numbers: list[signal.Signals], at_once: bool) -> None:
    before = [signal.getsignal(number) for number in numbers]
    stopped = False
    with StopSignal() as stop:
        assert not stop()
        try:
            for number in numbers:
                signal.raise_signal(number)
        except KeyboardInterrupt:
            stopped = True
        assert stop()
    assert stopped == at_once
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_run_under_nohup_stays() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_threads_leave_the_handlers_alone() -> None:
    def enter() -> None:
        with StopSignal() as stop:
            found.append(stop())

    found: list[bool] = []
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is before
