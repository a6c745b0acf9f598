"""The U-Net of the library diffusers, whose pipelines' weights it takes as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, cast

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ..components.registry import MODELS
from ..errors import SpecError, nearest
from ..text import shortened
from .base import Model
from .unet_config import checked

OURS = ("sample_size", "in_channels", "out_channels")


@MODELS.register("diffusers_unet")
class DiffusersUnet(Model):
    """UNet2DModel of the package diffusers, which has to be installed; `ddpmx import` makes runs of it."""

    config: Annotated[dict[str, object], AfterValidator(checked)] = Field(default={})
    """Its own configuration (block_out_channels, norm_eps, …), without the images' size and channels."""

    def build(self, channels: int, size: int) -> nn.Module:
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            hint = "pip install 'ddpmx[diffusers]'"
            raise SpecError(
                f"diffusers_unet needs a package that is not installed: {error}", hint=hint
            ) from None
        known = set(UNet2DModel._get_init_keys(UNet2DModel)) - {"self", *OURS}
        for key in self.config:
            if key not in known:
                raise SpecError("unknown key", field=f"config.{key}", hint=nearest(key, known))
        make: Callable[..., Any] = UNet2DModel
        arguments = {**self.config, "sample_size": size, "in_channels": channels, "out_channels": channels}
        try:
            with torch.device("meta"), torch.no_grad():  # takes no memory, however large the network is
                x, t = torch.empty(1, channels, size, size), torch.empty(1)
                drawn = DiffusersUnetModule(make(**arguments)).eval()(x, t)
        except (
            Exception
        ) as error:  # whatever its constructor or its layers raise for values that do not fit together
            why = shortened(f"{type(error).__name__}: {error}")
            raise SpecError(
                f"UNet2DModel does not work so for images of {channels}×{size}×{size}: {why}", field="config"
            ) from None
        if drawn.shape != x.shape:
            raise SpecError(
                f"UNet2DModel makes {list(drawn.shape)} of images {list(x.shape)}", field="config"
            )
        return DiffusersUnetModule(make(**arguments))


class DiffusersUnetModule(nn.Module):
    """x [n, c, h, w], t [n] -> [n, c, h, w]."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if len(x) == 0:  # which UNet2DModel's attention cannot reshape
            return torch.zeros_like(x)
        return cast(Tensor, self.unet(x, t).sample)
