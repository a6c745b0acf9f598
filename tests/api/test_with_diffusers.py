"""A network of diffusers, with ddpmx's loss and samplers around it, does what diffusers does with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import ddpmx
from ddpmx.ops import Purpose, normal, stream

pytestmark = pytest.mark.slow  # importing diffusers takes seconds

SHAPE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def unet() -> Any:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        layers_per_block=1,
    )


@pytest.mark.parametrize(("prediction", "theirs"), [("epsilon", "epsilon"), ("v", "v_prediction")])
def test_sampling_is_that_of_diffusers(unet: Any, prediction: str, theirs: str) -> None:
    from diffusers import DDIMScheduler

    sampler = {"name": "ddim", "steps": 5}
    d = ddpmx.Diffusion("linear", timesteps=1000, prediction=prediction, sampler=sampler)
    images = d.sample(unet, SHAPE, seed=3)

    scheduler = DDIMScheduler(timestep_spacing="trailing", prediction_type=theirs)
    scheduler.set_timesteps(5)
    x = normal(torch.arange(2), stream(Purpose.INIT, 0), 3, SHAPE[1:])
    with torch.no_grad():
        for t in scheduler.timesteps:
            # like ours, ε is that of the x_0 that was clipped
            stepped = scheduler.step(unet(x, t).sample, t, x, use_clipped_model_output=True)
            x = stepped.prev_sample
    assert torch.allclose(images, x, atol=1e-3)


def test_the_loss_and_the_noise_are_those_of_diffusers(unet: Any) -> None:
    from diffusers import DDPMScheduler

    d, scheduler = ddpmx.Diffusion("linear", timesteps=1000), DDPMScheduler()
    x0, noise = torch.rand(SHAPE) * 2 - 1, torch.randn(SHAPE)
    t = torch.tensor([3, 700])
    x_t = scheduler.add_noise(x0, noise, t)
    assert torch.allclose(d.add_noise(x0, t, noise), x_t, atol=1e-5)
    assert torch.allclose(
        d.loss(unet, x0, t=t, noise=noise), F.mse_loss(unet(x_t, t).sample, noise), rtol=1e-4
    )
