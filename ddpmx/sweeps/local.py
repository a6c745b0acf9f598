"""A sweep's points as processes of this machine, each on devices or cores of its own."""

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
    """A point to run: its name, its command line, and the file that its output is added to."""

    name: str
    command: tuple[str, ...]
    log: Path


def program() -> tuple[str, ...]:
    """Python with ddpmx, of which nothing comes from the working folder (-P), unless ddpmx itself is there."""
    safe = () if Path(ddpmx.__file__).parents[1] == Path.cwd() else ("-P",)
    return (sys.executable, *safe, "-m", "ddpmx")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(points: int, jobs: int | None, device: str | None) -> list[dict[str, str]]:
    """The environment of each process that runs at one time: a device for each, or a share of the cores.

    By default one process a visible GPU; without one, as many as there are cores for `OMP_NUM_THREADS` threads each (1 where
    that is not set), and where there are fewer points than that, the cores are divided among them.
    """
    if device is None and torch.cuda.is_available():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
        return [
            {"CUDA_VISIBLE_DEVICES": visible[index % len(visible)]}
            for index in range(min(points, jobs or len(visible)))
        ]
    if choose_device(device).type != "cpu":
        return [{} for _ in range(min(points, jobs or 1))]
    threads, at_once = share(cores(), points, jobs)
    return [{"OMP_NUM_THREADS": str(threads)} for _ in range(at_once)]


def share(cores: int, points: int, jobs: int | None) -> tuple[int, int]:
    """Threads of a point, and how many points at one time."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() else 0
    at_once = max(1, min(points, jobs or cores // max(1, threads)))
    return threads or max(1, cores // at_once), at_once


@dataclass
class LocalEngine:
    """Runs jobs in free slots. Leaving the context kills what still runs."""

    free: list[dict[str, str]]
    _running: dict[subprocess.Popen[bytes], tuple[Job, dict[str, str]]] = field(default_factory=dict)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    def has_room(self) -> bool:
        return bool(self.free)

    def start(self, job: Job) -> None:
        slot = self.free.pop(0)
        with job.log.open("ab") as log:
            self._running[spawn(job.command, log, slot)] = (job, slot)

    def ended(self) -> list[tuple[Job, int]]:
        """The jobs that ended since the last call, with their exit codes; -N: killed by signal N."""
        over = [process for process in self._running if process.poll() is not None]
        out = []
        for process in over:
            job, slot = self._running.pop(process)
            self.free.append(slot)
            out.append((job, process.returncode))
        return out

    def stop(self) -> None:
        """Ask all to save and stop."""
        for process in self._running:
            process.terminate()


def spawn(
    command: tuple[str, ...], log: IO[bytes], environment: Mapping[str, str], folder: str | None = None
) -> subprocess.Popen[bytes]:
    """A command, noted in its log, in a process group of its own: Ctrl-C in the terminal reaches it only through whoever started it.

    It stops when this process is gone, however that ended.
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
