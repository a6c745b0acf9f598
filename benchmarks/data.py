"""Images per second from a data set in memory to a model's input, on one core.

The images are fetched, half of them mirrored, and converted to float32 in [−1, 1].

OMP_NUM_THREADS=1 python benchmarks/data.py
"""

from __future__ import annotations

import time

import torch

from ddpmx.process.allocator import keep_memory
from ddpmx.training.batch import fetch_images

IMAGES, BATCH, BATCHES, ROUNDS = 57_000, 128, 100, 40


def main() -> None:
    torch.set_num_threads(1)
    keep_memory()  # as training does
    for shape in ((1, 28, 28), (3, 32, 32)):
        pixels = torch.randint(256, (IMAGES, *shape), dtype=torch.uint8)
        parts = torch.randperm(IMAGES)[: BATCH * BATCHES].split(BATCH)
        for flip in (True, False):
            spent = []
            for _ in range(ROUNDS):
                started = time.process_time()
                for ids in parts:
                    fetch_images(pixels, ids, 0, 0, flip)
                spent.append((time.process_time() - started) / BATCHES)
            best, median = min(spent), sorted(spent)[ROUNDS // 2]
            print(
                f"{list(shape)}, {'flips' if flip else 'no flips'}: {BATCH / best:,.0f} images/s at best "
                f"({best * 1e6:.0f} µs per batch), {BATCH / median:,.0f} median"
            )


if __name__ == "__main__":
    main()
