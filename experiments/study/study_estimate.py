"""How long the study will take: from the dry run of one point of each kind."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import torch
from study_commands import worker_environments
from study_measurements import full_chain
from study_plan import Study

from ddpmx import ops
from ddpmx.runs.dry_run import estimate
from ddpmx.runs.known_runs import comparable, training_key
from ddpmx.runs.timings import MeasurementTimes
from ddpmx.spec.schema import Spec
from ddpmx.terminal.time_left import roughly
from ddpmx.training.experiment import build

BLOCKS = ("dataset", "model", "train", "guidance", "evaluate", "weights")
"""Blocks of a spec that decide how long its run takes, beside the length of the sampler's chain."""


@dataclass(frozen=True)
class Seconds:
    """What the points of a kind take."""

    run: float
    """A run, with all that is measured after the training."""
    chosen: float
    """Its metrics once more, with the chosen average."""
    timestep: float
    """One step of the whole chain, for all its images."""
    chain_metrics: float
    """The metrics of these images."""

    def later(self, spec: Spec, has_chain: bool) -> float:
        """What is measured of a spec later: with a chosen average, and of one seed with the whole chain."""
        chain = spec.schedule.timesteps * self.timestep + self.chain_metrics
        return (self.chosen if spec.evaluate.over else 0.0) + (chain if has_chain else 0.0)


def say_estimate(study: Study, jobs: int, device: torch.device, done: Collection[str]) -> None:
    """Print how many runs of each sweep are to be made, and how long they and what follows will take.

    `done` names the specs that are finished.
    """
    seen, kinds = set[str](), dict[str, Seconds]()
    specs = [spec for name in study.sweeps for spec in study.specs(name)]
    threads = int(worker_environments(len(specs), jobs)[0].get("OMP_NUM_THREADS", "1"))  # none for a GPU
    if device.type == "cpu":
        torch.set_num_threads(threads)
    unit, total, count = "core-hours" if device.type == "cpu" else "GPU-hours", 0.0, 0
    for name in study.sweeps:
        own, left, later = 0, 0.0, 0.0
        for spec in study.specs(name):
            key = training_key(comparable(spec))
            if key in seen or spec.name in done:
                continue
            seen.add(key)
            if (kind := kind_of(spec)) not in kinds:
                print(f"timing a run such as {spec.name} …", flush=True)
                kinds[kind] = _seconds(spec, device)
            own, left = own + 1, left + kinds[kind].run
            later += kinds[kind].later(spec, spec.seed == study.seeds[0])
        hours = [f"{amount * threads / 3600:.2g} {unit}" for amount in (left, later)]
        print(
            f"{name}: {own} of {len(study.specs(name))} runs are to be made, {hours[0]}; "
            f"measured again afterwards, {hours[1]}"
        )
        total, count = total + left + later, count + own
    cores = f"{total * threads / 3600:.2g} {unit}"
    wall = f"about {roughly(total / min(jobs, max(count, 1)))} with {jobs} at a time"
    print(f"in all {count} runs, those of several sweeps counted once: {cores}, {wall}", flush=True)


def kind_of(spec: Spec) -> str:
    """A text that is equal for specs whose runs take equally long."""
    resolved = spec.resolved()
    chain = spec.sampler.plan(spec.schedule.table(), spec.prediction).evaluations
    return json.dumps([chain, *(resolved[block] for block in BLOCKS)], sort_keys=True)


def _seconds(spec: Spec, device: torch.device) -> Seconds:
    """Time a spec's run and the later measurements, with short trials of each part."""
    with ops.use_backend(spec.backend):
        experiment = build(spec, device, training=True)
        run = sum(seconds for _, seconds in estimate(experiment))
        times, chain = MeasurementTimes(experiment), full_chain(spec)
        return Seconds(
            run,
            times.generating(spec) + times.computing(spec, spec.evaluate.metrics),
            times.generating(chain) / spec.schedule.timesteps,
            times.computing(chain, chain.evaluate.metrics),
        )
