"""The U-Net of the library diffusers, whose pipelines' weights it takes as they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import SpecError, nearest
from ..registry import MODELS
from .base import Model

OURS = ("sample_size", "in_channels", "out_channels")


@MODELS.register("diffusers_unet")
class DiffusersUnet(Model):
    """UNet2DModel of the package diffusers, which has to be installed; `ddpmx import` makes runs of it."""

    config: dict[str, Any] = Field(default={})
    """Its own configuration (block_out_channels, norm_eps, …), without the images' size and channels."""

    def build(self, channels: int, size: int) -> nn.Module:
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            hint = "pip install 'ddpmx[diffusers]'"
            raise SpecError(f"diffusers_unet needs a package that is not installed: {error}", hint=hint) from None
        known = set(UNet2DModel._get_init_keys(UNet2DModel)) - {"self", *OURS}
        for key in self.config:
            if key not in known:
                raise SpecError("unknown key", field=f"config.{key}", hint=nearest(key, known))
        try:
            unet: Any = UNet2DModel(**self.config, sample_size=size, in_channels=channels, out_channels=channels)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError) as error:  # what its constructor raises for values that do not fit together
            raise SpecError(f"UNet2DModel cannot be built so: {error}", field="config") from None
        return DiffusersUnetModule(unet)


class DiffusersUnetModule(nn.Module):
    """x [n, c, h, w], t [n] -> [n, c, h, w]."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if len(x) == 0:  # which UNet2DModel's attention cannot reshape
            return torch.zeros_like(x)
        return cast(Tensor, self.unet(x, t).sample)
