"""A sweep's points as tasks of a Ray cluster: the one in RAY_ADDRESS, or one that is started on this machine.

Every node needs the same Python environment with ddpmx, and run folders and data on a file system that all
nodes share.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import ddpmx

from ..errors import SpecError
from .local import Job, divide_cores, spawn

POLL = 0.2
"""Seconds between a task's checks of its process, at which it also notices that it has been cancelled."""
GRACE = 10.0
"""Seconds that running tasks have to end their processes when the sweep ends early."""


class RayEngine:
    """Runs jobs as tasks, each with a GPU or with some of the cluster's cores.

    Tasks get GPUs if the cluster has any and `device` is None or cuda.
    """

    def __init__(self, points: int, jobs: int | None, device: str | None) -> None:
        try:
            self._ray = importlib.import_module("ray")
        except ImportError:
            raise SpecError(
                "Ray is not installed", field="--engine ray", hint="pip install 'ddpmx[ray]'"
            ) from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = self._ray
        # Ray adds the folder that it starts in to the tasks' import path.
        with chdir(Path(ddpmx.__file__).parents[1]):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = [int(node.get("CPU", 0)) for node in nodes]
        environment = {key: value for key, value in os.environ.items() if key.startswith("DDPMX_")}
        if device in (None, "cuda") and any(node.get("GPU") for node in nodes):
            needs = {"num_cpus": 1, "num_gpus": 1}
            room = int(sum(node.get("GPU", 0) for node in nodes))
        else:
            threads = min(divide_cores(sum(cores), points, jobs)[0], max(cores))
            needs = {"num_cpus": threads}
            environment["OMP_NUM_THREADS"] = str(threads)
            room = sum(cores) // threads
        self._jobs, self._environment = jobs or points, environment
        self._room = room
        self._task = ray.remote(max_retries=0, **needs)(_work)
        self._running: dict[object, Job] = {}

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            self.stop()
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE)
        self._ray.shutdown()

    @property
    def at_once(self) -> int:
        """How many jobs run at the same time."""
        return max(1, min(self._jobs, self._room))

    def has_room(self) -> bool:
        return len(self._running) < self._jobs

    def start(self, job: Job) -> None:
        job.log.touch()
        self._running[
            self._task.remote(job.command, str(job.log.resolve()), str(Path.cwd()), self._environment)
        ] = job

    def ended(self) -> list[tuple[Job, int]]:
        """The jobs that have ended since the last call, with their exit codes; -N: killed by signal N."""
        if not self._running:
            return []
        ended, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [(job, self._code(task, job)) for task in ended for job in [self._running.pop(task)]]

    def stop(self) -> None:
        """Ask all jobs to save and stop."""
        for task in self._running:
            self._ray.cancel(task)

    def _code(self, task: object, job: Job) -> int:
        """The exit code of a task's process."""
        try:
            return int(self._ray.get(task))
        except self._ray.exceptions.TaskCancelledError:  # cancelled before it started
            return 130
        except self._ray.exceptions.RayError as error:  # its node is gone, for example
            with job.log.open("a", encoding="utf-8") as log:
                log.write(f"error: {type(error).__name__}: {str(error).splitlines()[0]}\n")
            return 1


def _work(command: tuple[str, ...], log: str, folder: str, environment: Mapping[str, str]) -> int:
    """Run a point's command on the task's node and return its exit code.

    Cancelling the task asks the command to save and stop.
    """
    with Path(log).open("ab") as file:
        process = spawn(command, file, environment, folder)
    while process.returncode is None:
        try:
            process.wait(POLL)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            process.terminate()
    return process.returncode
