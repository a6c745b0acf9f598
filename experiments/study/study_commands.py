"""Commands of ddpmx as processes, several at the same time, and what ends a script that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from ddpmx.errors import DdpmxError, Interrupted, RunError, SpecError
from ddpmx.process.interrupts import PARENT
from ddpmx.process.stop import StopSignal
from ddpmx.sweeps.local import program, slots


def exit_code(work: Callable[[], None], resumed: str) -> int:
    """Do the work of a script, and say what stopped it; returns the exit code, as those of `ddpmx`.

    `resumed` is what the same command resumes.
    """
    try:
        work()
    except SpecError as error:
        print("\n".join(f"error: {line}" for line in error.lines()), file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print(f"stopped; the same command resumes {resumed}", file=sys.stderr)
        return 130
    except DdpmxError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def worker_environments(points: int, jobs: int | None) -> list[dict[str, str]]:
    """The environment of each process that runs at the same time, with a GPU or cores of its own."""
    return slots(points, jobs, None)


def ddpmx(arguments: Sequence[str], accepted: Collection[int] = (0,)) -> None:
    """Run a command whose output the user sees. Stops with it, and it stops with this process.

    Raises RunError for an exit code that is not accepted, and Interrupted if it was stopped.
    """
    with StopSignal() as stop:
        process = subprocess.Popen([*program(), *arguments], env=_environment({}))
        while True:
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                if stop():
                    process.terminate()  # with Ctrl-C it has had a signal too: the two count as one
    if code == 130 or stop():
        raise Interrupted("stopped")
    if code not in accepted:
        raise RunError(f"`ddpmx {arguments[0]}` ended with exit code {code}")


def ddpmx_each(commands: Sequence[Sequence[str]], jobs: int) -> list[str]:
    """Run commands on a run each, several at the same time; returns the messages of those that failed."""
    free: SimpleQueue[dict[str, str]] = SimpleQueue()
    environments = worker_environments(len(commands), jobs) if commands else []
    for environment in environments:
        free.put(environment)

    def run(arguments: Sequence[str]) -> str:
        environment = free.get()
        try:
            done = subprocess.run(
                [*program(), *arguments],
                env=_environment(environment),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            free.put(environment)
        print(f"{arguments[1]}\n{done.stdout}", end="", flush=True)
        return f"{' '.join(arguments)}: {done.stderr.strip()}" if done.returncode else ""

    with ThreadPoolExecutor(max(1, len(environments))) as pool:
        try:
            return [message for message in pool.map(run, commands) if message]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that stops when this one is gone."""
    return {**os.environ, **own, PARENT: str(os.getpid())}
