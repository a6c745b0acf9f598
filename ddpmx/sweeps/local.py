"""A sweep's points as processes on this machine, each with a device or cores of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

import ddpmx

from ..process.interrupts import PARENT
from ..training.experiment import choose_device


@dataclass(frozen=True)
class Job:
    """A point to run."""

    name: str
    """The point's name."""
    command: tuple[str, ...]
    """The command line that runs it."""
    log: Path
    """The file that its output is appended to."""


def program() -> tuple[str, ...]:
    """The command that starts ddpmx; -P keeps Python from importing modules of the working folder.

    There is no -P where ddpmx itself is in the working folder.
    """
    isolated = () if Path(ddpmx.__file__).parents[1] == Path.cwd() else ("-P",)
    return (sys.executable, *isolated, "-m", "ddpmx")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(points: int, jobs: int | None, device: str | None) -> list[dict[str, str]]:
    """The environment variables of each process that runs at the same time: a GPU, or a number of threads.

    By default there is one process per visible GPU. On CPUs, each process has `OMP_NUM_THREADS` threads (1 if
    that is not set), and there are as many processes as the cores allow. If there are fewer points than that,
    the cores are divided among them.
    """
    if device is None and torch.cuda.is_available():
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = listed.split(",") if listed else [str(index) for index in range(torch.cuda.device_count())]
        return [
            {"CUDA_VISIBLE_DEVICES": visible[index % len(visible)]}
            for index in range(min(points, jobs or len(visible)))
        ]
    if choose_device(device).type != "cpu":
        return [{} for _ in range(min(points, jobs or 1))]
    threads, at_once = divide_cores(cores(), points, jobs)
    return [{"OMP_NUM_THREADS": str(threads)} for _ in range(at_once)]


def divide_cores(cores: int, points: int, jobs: int | None) -> tuple[int, int]:
    """(threads of each point, number of points that run at the same time)."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(setting) if setting.isdigit() else 0
    at_once = max(1, min(points, jobs or cores // max(1, threads)))
    return threads or max(1, cores // at_once), at_once


@dataclass
class LocalEngine:
    """Runs jobs as processes. Leaving the context kills those that are still running."""

    free: list[dict[str, str]]
    """The environments of `slots` that no process uses."""
    _running: dict[subprocess.Popen[bytes], tuple[Job, dict[str, str]]] = field(default_factory=dict)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    @property
    def at_once(self) -> int:
        """How many jobs run at the same time."""
        return len(self.free) + len(self._running)

    def has_room(self) -> bool:
        return bool(self.free)

    def start(self, job: Job) -> None:
        slot = self.free.pop(0)
        with job.log.open("ab") as log:
            self._running[spawn(job.command, log, slot)] = (job, slot)

    def ended(self) -> list[tuple[Job, int]]:
        """The jobs that have ended since the last call, with their exit codes; -N: killed by signal N."""
        exited = [process for process in self._running if process.poll() is not None]
        ended = []
        for process in exited:
            job, slot = self._running.pop(process)
            self.free.append(slot)
            ended.append((job, process.returncode))
        return ended

    def stop(self) -> None:
        """Ask all jobs to save and stop."""
        for process in self._running:
            process.terminate()


def spawn(
    command: tuple[str, ...], log: IO[bytes], environment: Mapping[str, str], folder: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a command and write its command line to the log.

    It is in a process group of its own, so Ctrl-C in the terminal does not reach it: this process has to stop
    it. It also stops when this process is gone, for whatever reason.
    """
    log.write(f"$ {shlex.join(command)}\n".encode())
    log.flush()
    environment = {**os.environ, **environment, PARENT: str(os.getpid())}
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        process_group=0,
    )
