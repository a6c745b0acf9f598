"""The cost of evaluation without sampling, on Fashion-MNIST.

Measures the features per second, the metrics at n = 10,000 and the peak memory.

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
    """Print one line per figure: the features, the metrics in them, the memory."""
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    data = DATASETS.build("fashion_mnist").load(Path())
    cnn = Cnn(data)
    images = data.train.pixels[:N]  # instead of generated images
    loaded = _megabytes()
    extract(cnn, images[:1000], lambda done, total: None)
    started = time.perf_counter()
    extract(cnn, images, lambda done, total: None)
    print(f"{N / (time.perf_counter() - started):,.0f} features/s on {threads} threads")
    for name in ("fd_cnn", "is_cnn", "precision_recall"):
        metric = METRICS.build(name)
        metric.compute(Subject(data, images[:100]))  # extracts the real features, which a run does once
        started = time.perf_counter()
        scores = metric.compute(Subject(data, images))
        seconds = time.perf_counter() - started
        formatted = ", ".join(
            f"{score.value:.4g} in [{score.interval[0]:.4g}, {score.interval[1]:.4g}]"
            for score in scores.values()
        )
        print(f"{name}: {seconds:.1f} s at n = {N:,}, with interval and floor: {formatted}")
    print(f"peak memory {_megabytes():,.0f} MB, of which {loaded:,.0f} MB for Python, torch and the data")


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
