"""Training steps of ddpmx, denoising-diffusion-pytorch (lucidrains) and diffusers, compared in one run.

OMP_NUM_THREADS=1 DDPMX_DATA=… python benchmarks/peers.py [--rounds 5] [--batch 128]

Images are 1×28×28, float32; the networks have three levels and about the same number of parameters. A step is
that of each project's trainer or training script: adding noise, loss, backward, clipping to norm 1, Adam and
the moving average. Ours includes fetching and flipping images of Fashion-MNIST; theirs use one batch in
memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from turns import compare, table

SIZE, MULTS, TIMESTEPS = 28, (1, 2, 4), 500
OURS = "ddpmx, convnext_unet dim 26"


def ours(batch: int) -> Callable[[], object]:
    from ddpmx.spec import loading as spec_file
    from ddpmx.training.experiment import build
    from ddpmx.training.loop import train
    from ddpmx.training.state import TrainState, prepare
    from ddpmx.world import World

    changes = ["model.dim=26", f"train.batch_size={batch}", "train.grad_clip=1.0"]
    spec = spec_file.load(Path(__file__).parents[1] / "experiments/fashion_mnist.yaml", changes)
    experiment = build(spec, torch.device("cpu"))
    report(OURS, experiment.network)
    events = train(experiment, TrainState(), prepare(experiment), World(), lambda: False)
    return lambda: next(events)


def lucidrains(batch: int) -> Callable[[], object]:
    """The body of `Trainer.train` with its defaults: the moving average is updated every 10 steps."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    network = Unet(dim=32, dim_mults=MULTS, channels=1)
    report("lucidrains", network)
    diffusion = GaussianDiffusion(network, image_size=SIZE, timesteps=TIMESTEPS)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=10)
    images = torch.rand(batch, 1, SIZE, SIZE)

    def step() -> None:
        loss = diffusion(images)
        loss.item()
        loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()

    return step


def diffusers(batch: int) -> Callable[[], object]:
    """The step of the unconditional training example of diffusers."""
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    network = UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    report("diffusers", network)
    scheduler = DDPMScheduler(num_train_timesteps=TIMESTEPS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    average = EMAModel(network.parameters(), use_ema_warmup=True)
    images = torch.rand(batch, 1, SIZE, SIZE) * 2 - 1

    def step() -> None:
        noise, t = torch.randn_like(images), torch.randint(0, TIMESTEPS, (batch,))
        output = network(scheduler.add_noise(images, noise, t), t).sample
        loss = nn.functional.mse_loss(output, noise)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        loss.item()

    return step


def report(name: str, network: nn.Module) -> None:
    print(f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    ways = {"lucidrains": lucidrains, "diffusers": diffusers, OURS: ours}
    print(
        table(
            compare({name: partial(make, options.batch) for name, make in ways.items()}, options.rounds),
            "lucidrains",
        )
    )


if __name__ == "__main__":
    main()
