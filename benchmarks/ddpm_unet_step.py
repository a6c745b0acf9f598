"""The time and memory of a training step of `ddpm_unet`, compared with the same network on torch's layers.

OMP_NUM_THREADS=1 python benchmarks/ddpm_unet_step.py [--rounds 7] [--case quickstart|cifar10]

`quickstart` is the network, batch and images of experiments/quickstart.yaml, 20 steps a round; `cifar10` is
the paper's network with its dropout, on 4 images of 3×32×32, a step a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from turns import compare, table

import ddpmx
from ddpmx import ops


@dataclass(frozen=True)
class Case:
    parameters: dict[str, object]
    shape: tuple[int, int, int, int]
    """Of a batch."""
    steps: int
    """In a round."""


CASES = {
    "quickstart": Case(
        {"dim": 16, "dim_mults": (1, 2, 2), "blocks": 1, "dropout": 0.0}, shape=(64, 1, 8, 8), steps=20
    ),
    "cifar10": Case({}, shape=(4, 3, 32, 32), steps=1),
}


def steps(case: Case, backend: str, backward: bool) -> Callable[[], object]:
    """A function that does a round of training steps, or without `backward` of evaluations."""
    torch.manual_seed(0)
    n, channels, size, _ = case.shape
    network = ddpmx.MODELS.build("ddpm_unet", **case.parameters).build(channels, size).train(backward)
    x, noise, t = torch.randn(case.shape), torch.randn(case.shape), torch.rand(n) * 200
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        (network(x, t) - noise).square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> None:
        network(x, t)

    def run() -> None:
        with ops.use_backend(backend):
            for _ in range(case.steps):
                (train if backward else evaluate)()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", choices=sorted(CASES), action="append")
    options = parser.parse_args()
    for name in options.case or CASES:
        for title, backward in (("training step", True), ("evaluation without gradient", False)):
            make = partial(steps, CASES[name], backward=backward)
            ways = {"torch's layers": partial(make, "reference"), "ours": partial(make, "auto")}
            costs = compare(ways, options.rounds, frozenset(ways))
            print(f"\n{name}, {title}\n" + table(costs, "torch's layers"), flush=True)


if __name__ == "__main__":
    main()
