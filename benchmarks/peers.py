"""Training steps and sampling of ddpmx, denoising-diffusion-pytorch (lucidrains) and diffusers, in one run.

OMP_NUM_THREADS=1 DDPMX_DATA=… python benchmarks/peers.py [--rounds 5] [--batch 128] [--evaluations 5]

Images are 1×28×28, float32; the networks have three levels and about the same number of parameters. A step is
that of each project's trainer or training script: adding noise, loss, backward, clipping to norm 1, the
optimizer and the moving average. Ours includes fetching and flipping images of Fashion-MNIST; theirs use one
batch in memory, so their data loaders are not counted. Sampling is each project's own DDIM. Ours keeps freed
memory, as each of its runs does; theirs have the C library's defaults.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from turns import compare, table

if TYPE_CHECKING:
    from ddpmx.training.experiment import Experiment

SIZE, MULTS, TIMESTEPS = 28, (1, 2, 4), 500
OURS = "ddpmx, convnext_unet dim 26"


def experiment(batch: int) -> Experiment:
    """Ours: the study's spec with a narrower network, and the same clipping as the others."""
    from ddpmx.spec import loading as spec_file
    from ddpmx.training.experiment import build

    changes = ["model.dim=26", f"train.batch_size={batch}", "train.grad_clip=1.0"]
    spec = spec_file.load(Path(__file__).parents[1] / "experiments/fashion_mnist.yaml", changes)
    return build(spec, torch.device("cpu"))


def ours(batch: int) -> Callable[[], object]:
    """The steps of a run's training."""
    from ddpmx.training.loop import train
    from ddpmx.training.state import TrainState, prepare
    from ddpmx.world import World

    built = experiment(batch)
    report(OURS, built.network)
    events = train(built, TrainState(), prepare(built), World(), lambda: False)
    return lambda: next(events)


def ours_sampling(batch: int, evaluations: int) -> Callable[[], object]:
    """`ddpmx.sample`, as in a run."""
    import ddpmx

    built = experiment(batch)
    plan = ddpmx.SAMPLERS.build("ddim", steps=evaluations).plan(built.table, built.prediction)
    denoise = built.denoiser(built.network.eval())
    return lambda: ddpmx.sample(denoise, plan, (batch, 1, SIZE, SIZE))


def lucidrains_network() -> nn.Module:
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=32, dim_mults=MULTS, channels=1)


def lucidrains(batch: int) -> Callable[[], object]:
    """The body of `Trainer.train` with its defaults: the moving average is updated every 10 steps."""
    from denoising_diffusion_pytorch import GaussianDiffusion
    from ema_pytorch import EMA

    network = lucidrains_network()
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


def lucidrains_sampling(batch: int, evaluations: int) -> Callable[[], object]:
    """`GaussianDiffusion.sample`, which is DDIM if it has fewer steps than training."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    diffusion = GaussianDiffusion(
        lucidrains_network(), image_size=SIZE, timesteps=TIMESTEPS, sampling_timesteps=evaluations
    ).eval()
    return lambda: diffusion.sample(batch_size=batch)


def diffusers_network() -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 96),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def diffusers(batch: int) -> Callable[[], object]:
    """The step of the unconditional training example of diffusers."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    network = diffusers_network()
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


def diffusers_sampling(batch: int, evaluations: int) -> Callable[[], object]:
    """The pipeline of an unconditional network, with the scheduler of DDIM."""
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline = DDIMPipeline(diffusers_network().eval(), DDIMScheduler(num_train_timesteps=TIMESTEPS))
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=batch, num_inference_steps=evaluations, output_type="np")


def report(name: str, network: nn.Module) -> None:
    print(f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--evaluations", type=int, default=5, help="of the network, for each sampled batch")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # lucidrains draws a progress bar; the processes below inherit this
    training = {"lucidrains": lucidrains, "diffusers": diffusers, OURS: ours}
    sampling = {"lucidrains": lucidrains_sampling, "diffusers": diffusers_sampling, OURS: ours_sampling}
    kinds = {
        "training step": {name: partial(make, options.batch) for name, make in training.items()},
        f"sampling a batch, {options.evaluations} evaluations": {
            name: partial(make, options.batch, options.evaluations) for name, make in sampling.items()
        },
    }
    for title, ways in kinds.items():
        costs = compare(ways, options.rounds, frozenset({OURS}))
        print(f"\n{title}\n{table(costs, 'lucidrains')}", flush=True)


if __name__ == "__main__":
    main()
