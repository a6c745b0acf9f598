"""The loss-weighting study's U-Net of ConvNeXt blocks and linear attention."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.registry import MODELS
from ..ops.layers import AttentionParameters, add_linear_attention, fuses_linear_attention
from .base import ConditionalModel, Multiples, check_size
from .embedding import TimeEmbedding
from .layers import Conv3x3, Depthwise7x7, ImageNorm
from .recompute import recomputed

HEADS, HEAD_DIM = 4, 32
"""Attention heads, and features of each head."""
HIDDEN = HEADS * HEAD_DIM
"""Features of all heads together."""
EXPANSION = 2
"""Width inside a ConvNeXt block, relative to the block's output."""
CPU_CHUNK = 16
"""Images per attention pass on CPUs, where no kernel runs. Attention needs memory for 256 channels, so small
passes save much."""


@MODELS.register(
    "convnext_unet", paper="Liu et al. 2022, arXiv:2201.03545; Shen et al. 2018, arXiv:1812.01243"
)
class ConvNextUnet(ConditionalModel):
    """U-Net of ConvNeXt blocks with linear attention at every level: the study's network.

    The design follows Rogge and Rasul's "The annotated diffusion model" (2022).
    """

    dim: int = Field(default=28, ge=4, le=4096, multiple_of=2)
    """Base width, which `dim_mults` multiplies; also the size of the sinusoidal time embedding."""

    dim_mults: Multiples = Field(default=(1, 2, 4), min_length=1, max_length=12)
    """Widths of the levels as multiples of dim. The image's side is halved from each level to the next."""

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

    Internally, tensors are in channels_last order, which is faster on every device.
    """

    def __init__(self, inputs: int, outputs: int, config: ConvNextUnet, classes: int | None = None) -> None:
        super().__init__()
        dim = config.dim
        first = dim // 3 * 2
        widths = [first, *(dim * multiple for multiple in config.dim_mults)]
        time_dim = 4 * dim
        self.time = TimeEmbedding(dim, nn.GELU(), classes)
        self.first = nn.Conv2d(inputs, first, 7, padding=3)
        self.down = nn.ModuleList(Level(width_in, width, time_dim) for width_in, width in pairwise(widths))
        self.downsample = nn.ModuleList(
            nn.Conv2d(width, width, 4, stride=2, padding=1) for width in widths[1:-1]
        )
        self.middle_1 = ConvNextBlock(widths[-1], widths[-1], time_dim)
        self.middle_norm = ImageNorm(widths[-1])
        self.middle_attention = Attention(widths[-1])
        self.middle_2 = ConvNextBlock(widths[-1], widths[-1], time_dim)
        up = list(pairwise(widths[1:]))[::-1]
        self.up = nn.ModuleList(Level(2 * width, width_out, time_dim) for width_out, width in up)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(width_out, width_out, 4, stride=2, padding=1) for width_out, _ in up
        )
        self.last = ConvNextBlock(widths[1], widths[1], None)
        self.output = nn.Conv2d(widths[1], outputs, 1)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        time = self.time(t, labels)  # [n, 4·dim]
        x = self.first(x).contiguous(memory_format=torch.channels_last)  # [n, dim//3·2, h, w]
        skips = []
        for level, down in enumerate(self.down):
            if level:
                x = self.downsample[level - 1](x)  # halves h and w
            x = down(x, time)  # [n, dim·multiple, h, w], each side divided by 2**level
            skips.append(x)
        x = self.middle_1(x, time)
        x = x + self.middle_attention(self.middle_norm(x))
        x = self.middle_2(x, time)
        for up, upsample in zip(self.up, self.upsample, strict=True):
            # The first level's skip is never popped, as in the original design.
            x = upsample(up(torch.cat((x, skips.pop()), dim=1), time))  # doubles h and w
        return cast(Tensor, self.output(self.last(x, None))).contiguous()  # [n, outputs, h, w]


class Level(nn.Module):
    """Two blocks and then linear attention, at one resolution: [n, width_in, h, w] -> [n, width, h, w]."""

    def __init__(self, width_in: int, width: int, time_dim: int) -> None:
        super().__init__()
        self.block_1 = ConvNextBlock(width_in, width, time_dim)
        self.block_2 = ConvNextBlock(width, width, time_dim)
        self.norm = ImageNorm(width)
        self.attention = LinearAttention(width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.block_2(self.block_1(x, time), time)
        if x.device.type == "cpu" and not self.attention.is_fused(self.norm, x):
            return torch.cat(
                [
                    recomputed(self.add_attention, chunk, self.norm, self.attention)
                    for chunk in x.split(CPU_CHUNK)
                ]
            )
        return self.add_attention(x)

    def add_attention(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.attention(self.norm, x))


class ConvNextBlock(nn.Module):
    """A 7×7 depthwise convolution plus the time, then two 3×3 convolutions, and a residual connection.

    x [n, width_in, h, w], time [n, time_dim] -> [n, width, h, w].
    """

    def __init__(self, width_in: int, width: int, time_dim: int | None) -> None:
        super().__init__()
        self.time = nn.Linear(time_dim, width_in) if time_dim else None
        self.depthwise = Depthwise7x7(width_in)
        self.norm_1 = ImageNorm(width_in)
        self.expand = Conv3x3(width_in, EXPANSION * width)
        self.norm_2 = ImageNorm(EXPANSION * width)
        self.contract = Conv3x3(EXPANSION * width, width)
        self.residual = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        h = self.depthwise(x)  # [n, width_in, h, w]
        if self.time is not None and time is not None:
            h = h + self.time(F.gelu(time))[:, :, None, None]
        h = self.expand.after_norm(self.norm_1, h)  # [n, EXPANSION·width, h, w]
        h = self.contract.after_norm(self.norm_2, h, gelu=True)  # [n, width, h, w]
        return cast(Tensor, h + self.residual(x))


class Attention(nn.Module):
    """Softmax attention over the positions: softmax(q·kᵀ/√d)·v. Vaswani et al. 2017, arXiv:1706.03762."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(rearrange(x, "n c h w -> n (h w) c"))  # [n, positions, 3·HIDDEN]
        q, k, v = rearrange(
            qkv, "n positions (three heads d) -> three n heads positions d", three=3, heads=HEADS
        )
        if x.is_cpu:  # torch's kernel; those for GPUs need not give the same gradient twice
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            weight = (q * HEAD_DIM**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
            y = weight @ v  # [n, heads, positions, d]
        y = rearrange(y, "n heads (h w) d -> n h w (heads d)", h=x.shape[2])
        return rearrange(cast(Tensor, self.out(y)), "n h w c -> n c h w")


class LinearAttention(nn.Module):
    """Linear attention between two norms, added to its input: `ops.add_linear_attention`.

    Shen et al. 2018, arXiv:1812.01243. There are many positions and few features, so kᵀ·x comes first, and
    the projections `v` and `out` are applied to that small matrix. The values v are never computed for each
    position.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, HIDDEN, bias=False)
        self.k = nn.Linear(width, HIDDEN, bias=False)
        self.v = nn.Linear(width, HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, width)
        self.norm = ImageNorm(width)

    def forward(self, norm: ImageNorm, x: Tensor) -> Tensor:
        """x + self.norm(attention of norm(x)), [n, c, h, w]."""
        return add_linear_attention(x, self._between(norm))

    def is_fused(self, norm: ImageNorm, x: Tensor) -> bool:
        """Whether `forward` is one kernel, which keeps little more than x for the backward pass."""
        return fuses_linear_attention(x, self._between(norm))

    def _between(self, norm: ImageNorm) -> AttentionParameters:
        return AttentionParameters(
            HEADS,
            self.q.weight,
            self.k.weight,
            self.v.weight,
            self.out.weight,
            self.out.bias,
            (norm.weight, norm.bias),
            (self.norm.weight, self.norm.bias),
            norm.eps,
        )
