"""What evaluation costs without sampling: features a second, fd_cnn at n = 10,000 and peak memory, on Fashion-MNIST.

DDPMX_DATA=… python benchmarks/evaluation.py
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import torch

from ddpmx import DATASETS, METRICS, Subject
from ddpmx.metrics.cnn import Cnn
from ddpmx.metrics.features import extract

N = 10_000


def main() -> None:
    """One line a figure; other metrics in the same features follow."""
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    data = DATASETS.build("fashion_mnist").load(Path())
    cnn = Cnn(data)
    images = data.train.pixels[:N]  # in place of generated ones
    loaded = _megabytes()
    extract(cnn, images[:1000], lambda done, total: None)
    started = time.perf_counter()
    extract(cnn, images, lambda done, total: None)
    print(f"{N / (time.perf_counter() - started):,.0f} features/s on {threads} threads")
    for name in ("fd_cnn", "is_cnn", "precision_recall"):
        metric = METRICS.build(name)
        metric.compute(Subject(data, images[:100]))  # the real features, which a run makes once
        started = time.perf_counter()
        scores = metric.compute(Subject(data, images))
        seconds = time.perf_counter() - started
        shown = ", ".join(
            f"{score.value:.4g} in [{score.interval[0]:.4g}, {score.interval[1]:.4g}]"
            for score in scores.values()
        )
        print(f"{name}: {seconds:.1f} s at n = {N:,}, interval and floor included: {shown}")
    print(f"peak memory {_megabytes():,.0f} MB, of which {loaded:,.0f} MB before (Python, torch, the data)")


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
