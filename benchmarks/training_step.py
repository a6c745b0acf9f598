"""The time and memory of a training step of the study's network, compared with its plain eager form.

OMP_NUM_THREADS=1 python benchmarks/training_step.py [--rounds 9] [--batch 128] [--bfloat16]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from study_eager import StudyEager
from turns import Cost, compare, table

import ddpmx

DIM, MULTS, SIZE = 28, (1, 2, 4), 28


def step(batch: int, eager: bool, precision: str = "float32", backward: bool = True) -> Callable[[], object]:
    """A function that does one training step, or if `backward` is False one evaluation without gradient."""
    torch.manual_seed(0)
    network = ddpmx.MODELS.build("convnext_unet", dim=DIM, dim_mults=MULTS).build(1, SIZE)
    if eager:
        network = StudyEager.of(network, 1, DIM, MULTS)
    x, noise, t = (
        torch.randn(batch, 1, SIZE, SIZE),
        torch.randn(batch, 1, SIZE, SIZE),
        torch.rand(batch) * 500,
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            output = network(x, t)
        (output.float() - noise).square().mean().backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            network(x, t)

    return train if backward else evaluate


def measure(rounds: int, batch: int, bfloat16: bool, backward: bool) -> dict[str, Cost]:
    """The costs of the study's form with the C library's defaults, and of ours, also with `keep_memory`."""
    make = partial(step, batch, backward=backward)
    ways = {
        "study, eager": partial(make, True),
        "ours, memory handed back": partial(make, False),
        "ours": partial(make, False),
    }
    if bfloat16:
        ways["ours, bfloat16"] = partial(make, False, "bfloat16")
    return compare(ways, rounds, frozenset({"ours", "ours, bfloat16"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="also measure bfloat16, which is slow on processors without instructions for it",
    )
    options = parser.parse_args()
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    print(
        f"batch {options.batch}, {torch.backends.cpu.get_cpu_capability()}, "
        f"bfloat16 instructions: {'yes' if has_bfloat16 else 'no'}"
    )
    for title, backward in (("training step", True), ("evaluation without gradient", False)):
        print(
            f"\n{title}\n"
            + table(measure(options.rounds, options.batch, options.bfloat16, backward), "study, eager"),
            flush=True,
        )


if __name__ == "__main__":
    main()
