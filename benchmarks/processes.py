"""The speed-up of training with several processes over one, on one batch.

Trains the study's network on Fashion-MNIST, with one thread per process.

DDPMX_DATA=… python benchmarks/processes.py [--rounds 3] [--steps 5] [--processes 2]

Wall time is compared, so each process needs a core that nothing else uses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SPEC = Path(__file__).parents[1] / "experiments/fashion_mnist.yaml"
WARM_UP = 2


def work(steps: int, changes: Sequence[str]) -> None:
    """Train some steps in this process. The first process prints the mean seconds per step."""
    import torch

    from ddpmx.spec import loading as spec_file
    from ddpmx.training.experiment import build
    from ddpmx.training.loop import train
    from ddpmx.training.state import TrainState, prepare
    from ddpmx.world import World

    torch.set_num_threads(1)
    device = torch.device("cpu")
    world = World.join(device)
    experiment = build(spec_file.load(SPEC, changes), device)
    events = train(experiment, TrainState(), prepare(experiment), world, lambda: False)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = time.perf_counter()
        next(events)
    if world.is_main:
        print((time.perf_counter() - started) / steps)
    world.leave()


def seconds(processes: int, options: argparse.Namespace) -> float:
    """The seconds of a step with this number of processes, started as a user starts them."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    command = [
        sys.executable,
        *launcher,
        __file__,
        "--work",
        f"--steps={options.steps}",
        *(f"-s={change}" for change in options.set),
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides of the spec"
    )
    parser.add_argument("--work", action="store_true", help="used internally: start one of the processes")
    options = parser.parse_args()
    if options.work:
        work(options.steps, options.set)
        return
    ratios = []
    for _ in range(options.rounds):
        one, many = seconds(1, options), seconds(options.processes, options)
        ratios.append(one / many)
        print(
            f"a step takes {one:.3f} s with 1 process, {many:.3f} s with {options.processes}: "
            f"{ratios[-1]:.2f} times as fast",
            flush=True,
        )
    print(f"median: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
