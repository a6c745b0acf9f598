"""Training losses in bfloat16 and in float32, over the same steps, for several seeds and dim 16.

DDPMX_DATA=… python benchmarks/precision_curves.py [--dataset digits] [--steps 2000] [--seeds 3]
    [--batch 128] [--device cuda]

Both runs of a seed use the same images, timesteps and noise, so that their losses can be compared step by
step.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ddpmx.spec import loading as spec_file
from ddpmx.training.experiment import build, choose_device
from ddpmx.training.loop import StepDone, train
from ddpmx.training.state import TrainState, prepare
from ddpmx.world import World

PARTS = 10


def losses(options: argparse.Namespace, precision: str, seed: int) -> Tensor:
    """The training loss of each step, float64 [steps]."""
    changes = [f"dataset={options.dataset}", "dataset.flip=null", "model.dim=16", f"seed={seed}"]
    changes += [
        f"train.precision={precision}",
        f"train.batch_size={options.batch}",
        f"train.steps={options.steps}",
        "train.epochs=null",
    ]
    spec = spec_file.load(Path(__file__).parents[1] / "experiments/fashion_mnist.yaml", changes)
    experiment = build(spec, choose_device(options.device))
    events = train(experiment, TrainState(), prepare(experiment), World(), lambda: False)
    done = (event.loss for event in events if isinstance(event, StepDone))
    return torch.tensor(list(islice(done, options.steps)), dtype=torch.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device")
    options = parser.parse_args()
    torch.set_num_threads(1)
    curves = {
        precision: torch.stack([losses(options, precision, seed) for seed in range(options.seeds)])
        for precision in ("float32", "bfloat16")
    }
    print(
        "| steps | float32: mean over seeds | bfloat16 | ratio | spread of float32 over seeds |\n"
        "| --- | --- | --- | --- | --- |"
    )
    size = options.steps // PARTS
    for part in range(PARTS):
        full, half = (curve[:, part * size : (part + 1) * size].mean(1) for curve in curves.values())
        spread = full.std() / full.mean() if options.seeds > 1 else torch.zeros(())
        mean, other = full.mean(), half.mean()
        print(
            f"| {part * size + 1}–{(part + 1) * size} | {mean:.4f} | {other:.4f} "
            f"| {other / mean:.4f} | {spread:.2%} |"
        )


if __name__ == "__main__":
    main()
