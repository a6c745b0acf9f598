"""The residual U-Net of Ho et al. 2020, arXiv:2006.11239 (appendix B)."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.registry import MODELS
from .base import ConditionalModel, Multiples, check_size
from .embedding import TimeEmbedding
from .layers import Conv3x3, GroupNorm


@MODELS.register("ddpm_unet", paper="Ho et al. 2020, arXiv:2006.11239")
class DdpmUnet(ConditionalModel):
    """U-Net of residual blocks with attention and dropout; the defaults are the paper's CIFAR-10 network."""

    dim: int = Field(default=128, ge=4, le=4096, multiple_of=2)
    """Base width, which `dim_mults` multiplies; also the size of the sinusoidal time embedding."""

    dim_mults: Multiples = Field(default=(1, 2, 2, 2), min_length=1, max_length=12)
    """Widths of the levels as multiples of dim. The image's side is halved from each level to the next."""

    blocks: int = Field(default=2, ge=1, le=64)
    """Residual blocks per level on the way down; each level has one more on the way up."""

    attention: tuple[Annotated[int, Field(ge=1)], ...] = (16,)
    """Side lengths of the feature maps with attention after each block; the middle block always has it."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout probability in each residual block."""

    def build(
        self,
        channels: int,
        size: int,
        classes: int | None = None,
        *,
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> nn.Module:
        check_size(size, self.dim_mults)
        return DdpmUnetModule(inputs or channels, outputs or channels, size, self, classes)


class DdpmUnetModule(nn.Module):
    """x [n, inputs, h, w], t [n] and, with classes, labels [n] -> [n, outputs, h, w].

    Internally, tensors are in channels_last order, which is faster on every device.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, config: DdpmUnet, classes: int | None = None
    ) -> None:
        super().__init__()

        def stage(width_in: int, width: int) -> Stage:
            return Stage(width_in, width, 4 * config.dim, size in config.attention, config.dropout)

        self.time = TimeEmbedding(config.dim, nn.SiLU(), classes)
        self.first = Conv3x3(inputs, config.dim)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = config.dim, [config.dim]
        for level, multiple in enumerate(config.dim_mults):
            if level:
                self.down.append(Downsample(width))
                skips.append(width)
                size //= 2
            for _ in range(config.blocks):
                self.down.append(stage(width, config.dim * multiple))
                width = config.dim * multiple
                skips.append(width)
        self.middle_1 = Stage(width, width, 4 * config.dim, True, config.dropout)
        self.middle_2 = Stage(width, width, 4 * config.dim, False, config.dropout)
        for level, multiple in reversed(list(enumerate(config.dim_mults))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(width + skips.pop(), config.dim * multiple))
                width = config.dim * multiple
            if level:
                self.up.append(Upsample(width))
                size *= 2
        self.norm = norm_of(width)
        self.output = Conv3x3(width, outputs)
        self.apply(_initialise)
        zero_(self.output)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                zero_(module.conv_2)
            elif isinstance(module, AttentionBlock):
                zero_(module.out)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        time = F.silu(self.time(t, labels))  # [n, 4·dim]
        x = self.first(x).contiguous(memory_format=torch.channels_last)  # [n, dim, h, w]
        skips = [x]
        for module in self.down:
            x = module(x, time)  # [n, dim·multiple, h, w]; a Downsample halves h and w
            skips.append(x)
        x = self.middle_2(self.middle_1(x, time), time)
        for module in self.up:  # an Upsample doubles h and w, and takes no skip
            x = module(torch.cat((x, skips.pop()), dim=1) if isinstance(module, Stage) else x, time)
        return self.output.after_silu(self.norm, x).contiguous()  # [n, outputs, h, w]


class Stage(nn.Module):
    """A residual block, followed by attention if this resolution has it."""

    def __init__(self, width_in: int, width: int, time_dim: int, attention: bool, dropout: float) -> None:
        super().__init__()
        self.block = ResidualBlock(width_in, width, time_dim, dropout)
        self.attention = AttentionBlock(width) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return cast(Tensor, self.attention(self.block(x, time)))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after a norm and SiLU, with the time added between them, and a residual.

    x [n, width_in, h, w], time [n, time_dim] -> [n, width, h, w].
    """

    def __init__(self, width_in: int, width: int, time_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm_1 = norm_of(width_in)
        self.conv_1 = Conv3x3(width_in, width)
        self.time = nn.Linear(time_dim, width)
        self.norm_2 = norm_of(width)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = Conv3x3(width, width)
        self.residual = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_1.after_silu(self.norm_1, x) + self.time(time)[:, :, None, None]  # [n, width, h, w]
        if self.dropout.training and self.dropout.p > 0:
            h = self.conv_2(self.dropout(self.norm_2(h, silu=True)))
        else:
            h = self.conv_2.after_silu(self.norm_2, h)
        return cast(Tensor, h + self.residual(x))


class AttentionBlock(nn.Module):
    """Single-head attention over the positions of the normalised input, added to that input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm_of(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = rearrange(self.norm(x), "n c h w -> n (h w) c")
        # softmax(q·kᵀ/√c)·v
        scores = self.q(h) * h.shape[-1] ** -0.5 @ self.k(h).transpose(1, 2)
        weight = scores.softmax(dim=-1)  # [n, positions, positions]
        return x + rearrange(cast(Tensor, self.out(weight @ self.v(h))), "n (h w) c -> n c h w", h=x.shape[2])


class Downsample(nn.Module):
    """Halve the side: a 3×3 convolution of stride 2, padded right and bottom only, as in the paper's code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.pad(x, (0, 1, 0, 1))))


class Upsample(nn.Module):
    """Double the side: repeat each pixel to 2×2, then a 3×3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv3x3(width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


def norm_of(width: int) -> GroupNorm:
    """GroupNorm with the most groups, up to 32, that divide the width and have at least two channels each."""
    groups = next(groups for groups in range(min(32, width // 2), 0, -1) if width % groups == 0)
    return GroupNorm(groups, width, eps=1e-6)


def _initialise(module: nn.Module) -> None:
    """Initialise as the paper's code does: uniform with variance 2/(inputs + outputs), biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def zero_(layer: nn.Conv2d | nn.Linear) -> None:
    """Zero a layer's weights, so that its block starts as the identity."""
    nn.init.zeros_(layer.weight)
