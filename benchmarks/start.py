"""The time from the start of `python -m ddpmx run` to its first step's event, on cached Fashion-MNIST.

OMP_NUM_THREADS=1 DDPMX_DATA=… python benchmarks/start.py [--rounds 5]

The batch is one image, because `training_step.py` measures the step itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).parents[1] / "experiments/fashion_mnist.yaml"
TICKS = os.sysconf("SC_CLK_TCK")


def start(out: Path) -> tuple[float, float]:
    """The processor and wall seconds of one run, which is killed after the event."""
    command = [
        "-m",
        "ddpmx",
        "run",
        str(SPEC),
        "--out",
        str(out),
        "-s",
        "train.steps=1",
        "-s",
        "train.batch_size=1",
    ]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command])
    while not any('"event": "step"' in log.read_text() for log in out.glob("*/*/metrics.jsonl")):
        if process.poll() is not None:
            raise RuntimeError("the run ended before its first step")
        time.sleep(0.01)
    wall = time.perf_counter() - started
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    process.kill()
    process.wait()
    # user and system time, of the process and of the children that it waited for
    return sum(map(int, fields[11:15])) / TICKS, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    spent = []
    for _ in range(parser.parse_args().rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            spent.append(start(Path(folder)))
    processor, wall = zip(*spent[1:], strict=True)  # the first run fills the caches
    for name, times in (("processor", processor), ("wall", wall)):
        every = ", ".join(f"{seconds:.2f}" for seconds in sorted(times))
        print(f"{name} time {min(times):.2f} s at best of {every}")


if __name__ == "__main__":
    main()
