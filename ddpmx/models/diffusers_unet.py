"""The U-Net of the diffusers library. Weights of diffusers pipelines load into it unchanged."""

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

SET_BY_DATA = ("sample_size", "in_channels", "out_channels")
"""Configuration keys that follow from the data set, so that a spec may not set them."""


@MODELS.register("diffusers_unet")
class DiffusersUnet(Model):
    """UNet2DModel of the diffusers package, which must be installed; `ddpmx import` creates runs with it."""

    config: Annotated[dict[str, object], AfterValidator(checked)] = Field(default={})
    """UNet2DModel's configuration (block_out_channels, norm_eps, …), without the image size and channels."""

    def build(self, channels: int, size: int) -> nn.Module:
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            hint = "pip install 'ddpmx[diffusers]'"
            raise SpecError(
                f"the model 'diffusers_unet' needs a package that is not installed: {error}", hint=hint
            ) from None
        known = set(UNet2DModel._get_init_keys(UNet2DModel)) - {"self", *SET_BY_DATA}
        for key in self.config:
            if key not in known:
                raise SpecError("unknown key", field=f"config.{key}", hint=nearest(key, known))
        unet_class: Callable[..., Any] = UNet2DModel
        arguments = {**self.config, "sample_size": size, "in_channels": channels, "out_channels": channels}
        try:
            with torch.device("meta"), torch.no_grad():  # uses no memory, however large the network is
                x, t = torch.empty(1, channels, size, size), torch.empty(1)
                output = DiffusersUnetModule(unet_class(**arguments)).eval()(x, t)
        except (
            Exception
        ) as error:  # constructor and layers raise many types for values that don't fit together
            why = shortened(f"{type(error).__name__}: {error}")
            raise SpecError(
                f"UNet2DModel does not work with this configuration for images of {channels}×{size}×{size}:"
                f" {why}",
                field="config",
            ) from None
        if output.shape != x.shape:
            raise SpecError(
                f"UNet2DModel with this configuration turns images {list(x.shape)} into {list(output.shape)},"
                " but the two shapes must be equal",
                field="config",
            )
        return DiffusersUnetModule(unet_class(**arguments))


class DiffusersUnetModule(nn.Module):
    """x [n, c, h, w], t [n] -> [n, c, h, w]."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if len(x) == 0:  # UNet2DModel's attention cannot reshape an empty batch
            return torch.zeros_like(x)
        return cast(Tensor, self.unet(x, t).sample)
