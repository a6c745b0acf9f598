"""The U-Net of ConvNeXt blocks and linear attention of the loss-weighting study."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.registry import MODELS
from .base import ConditionalModel, Multiples, check_size
from .embedding import TimeEmbedding
from .layers import Conv3x3, Depthwise7x7, ImageNorm
from .recompute import recomputed

HEADS, HEAD_DIM = 4, 32
HIDDEN = HEADS * HEAD_DIM
EXPANSION = 2
CPU_CHUNK = 16  # images whose attention is made, and made again, at a time: it needs room for 256 channels


@MODELS.register(
    "convnext_unet", paper="Liu et al. 2022, arXiv:2201.03545; Shen et al. 2018, arXiv:1812.01243"
)
class ConvNextUnet(ConditionalModel):
    """U-Net of ConvNeXt blocks with linear attention at every level, the study's network.

    The design is the one known from Rogge and Rasul's "The annotated diffusion model" (2022).
    """

    dim: int = Field(default=28, ge=4, le=4096, multiple_of=2)
    """Width of the first level, and of the sinusoidal time embedding."""

    dim_mults: Multiples = Field(default=(1, 2, 4), min_length=1, max_length=12)
    """Widths of the levels as multiples of dim; between two levels the image's side is halved."""

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
        return ConvNextUnetModule(inputs or channels, outputs or channels, self, classes)


class ConvNextUnetModule(nn.Module):
    """x [n, inputs, h, w], t [n] and, with classes, labels [n] -> [n, outputs, h, w].

    Inside, tensors are in channels_last order, which is faster on every device.
    """

    def __init__(self, inputs: int, outputs: int, config: ConvNextUnet, classes: int | None = None) -> None:
        super().__init__()
        dim = config.dim
        first = dim // 3 * 2
        widths = [first, *(dim * multiple for multiple in config.dim_mults)]
        time_dim = 4 * dim
        self.time = TimeEmbedding(dim, nn.GELU(), classes)
        self.first = nn.Conv2d(inputs, first, 7, padding=3)
        self.down = nn.ModuleList(Level(before, width, time_dim) for before, width in pairwise(widths))
        self.downsample = nn.ModuleList(
            nn.Conv2d(width, width, 4, stride=2, padding=1) for width in widths[1:-1]
        )
        self.middle_1 = ConvNextBlock(widths[-1], widths[-1], time_dim)
        self.middle_norm = ImageNorm(widths[-1])
        self.middle_attention = Attention(widths[-1])
        self.middle_2 = ConvNextBlock(widths[-1], widths[-1], time_dim)
        up = list(pairwise(widths[1:]))[::-1]
        self.up = nn.ModuleList(Level(2 * width, before, time_dim) for before, width in up)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(before, before, 4, stride=2, padding=1) for before, _ in up
        )
        self.last = ConvNextBlock(widths[1], widths[1], None)
        self.output = nn.Conv2d(widths[1], outputs, 1)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        time = self.time(t, labels)  # [n, 4·dim]
        x = self.first(x).contiguous(memory_format=torch.channels_last)
        skips = []
        for level, down in enumerate(self.down):
            if level:
                x = self.downsample[level - 1](x)
            x = down(x, time)
            skips.append(x)
        x = self.middle_1(x, time)
        x = x + self.middle_attention(self.middle_norm(x))
        x = self.middle_2(x, time)
        for up, upsample in zip(self.up, self.upsample, strict=True):
            x = upsample(up(torch.cat((x, skips.pop()), dim=1), time))  # the first level's skip is not used
        return cast(Tensor, self.output(self.last(x, None))).contiguous()


class Level(nn.Module):
    """Two blocks, then linear attention, at one resolution."""

    def __init__(self, before: int, width: int, time_dim: int) -> None:
        super().__init__()
        self.block_1 = ConvNextBlock(before, width, time_dim)
        self.block_2 = ConvNextBlock(width, width, time_dim)
        self.norm = ImageNorm(width)
        self.attention = LinearAttention(width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.block_2(self.block_1(x, time), time)
        if x.device.type == "cpu":
            return torch.cat(
                [recomputed(self.attended, part, self.norm, self.attention) for part in x.split(CPU_CHUNK)]
            )
        return self.attended(x)

    def attended(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.attention(self.norm(x)))


class ConvNextBlock(nn.Module):
    """A 7×7 depthwise convolution plus time, then two 3×3 ones through EXPANSION·width channels, and a residual."""

    def __init__(self, before: int, width: int, time_dim: int | None) -> None:
        super().__init__()
        self.time = nn.Linear(time_dim, before) if time_dim else None
        self.depthwise = Depthwise7x7(before)
        self.norm_1 = ImageNorm(before)
        self.expand = Conv3x3(before, EXPANSION * width)
        self.norm_2 = ImageNorm(EXPANSION * width)
        self.contract = Conv3x3(EXPANSION * width, width)
        self.residual = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        h = self.depthwise(x)
        if self.time is not None and time is not None:
            h = h + self.time(F.gelu(time))[:, :, None, None]
        h = self.expand.of_norm(self.norm_1, h)
        h = self.contract.of_norm(self.norm_2, h, gelu=True)
        return cast(Tensor, h + self.residual(x))


class Attention(nn.Module):
    """Softmax attention over the positions. Vaswani et al. 2017, arXiv:1706.03762."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(rearrange(x, "n c h w -> n (h w) c"))
        q, k, v = rearrange(
            qkv, "n positions (three heads d) -> three n heads positions d", three=3, heads=HEADS
        )
        weight = (q * HEAD_DIM**-0.5 @ k.transpose(-2, -1)).softmax(
            dim=-1
        )  # [n, heads, positions, positions]
        y = rearrange(weight @ v, "n heads (h w) d -> n h w (heads d)", h=x.shape[2])
        return rearrange(cast(Tensor, self.out(y)), "n h w c -> n c h w")


class LinearAttention(nn.Module):
    """out · softmax over features(q) · (softmax over positions(k)ᵀ · v), then a GroupNorm. Shen et al. 2018, arXiv:1812.01243.

    The positions are many and the features few, so the products are taken in the order that has the positions twice
    only: kᵀ·x first, the projections `v` and `out` then on that small matrix. `v` is never built for each position.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, HIDDEN, bias=False)
        self.k = nn.Linear(width, HIDDEN, bias=False)
        self.v = nn.Linear(width, HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, width)
        self.norm = ImageNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attend(rearrange(x, "n c h w -> n (h w) c"))
        return cast(Tensor, self.norm(rearrange(y, "n (h w) c -> n c h w", h=x.shape[2])))

    def attend(self, x: Tensor) -> Tensor:
        q = rearrange(self.q(x), "n positions (heads d) -> n positions heads d", heads=HEADS).softmax(dim=-1)
        k = self.k(x).softmax(dim=1)  # [n, positions, heads·d]
        v = rearrange(self.v.weight, "(heads d) c -> heads c d", heads=HEADS)
        out = rearrange(self.out.weight, "c (heads d) -> heads d c", heads=HEADS)
        context = (
            rearrange(k.transpose(1, 2) @ x, "n (heads d) c -> n heads d c", heads=HEADS) @ v
        )  # [n, heads, d, d]
        mix = context @ (out * HEAD_DIM**-0.5)  # [n, heads, d, c]
        q, mix = (
            rearrange(q, "n positions heads d -> n positions (heads d)"),
            rearrange(mix, "n heads d c -> n (heads d) c"),
        )
        return torch.baddbmm(self.out.bias, q, mix)
