"""The study's network in plain eager torch, as the field writes it: the baseline of `convnext_unet`.

It has contiguous tensors, `rearrange` and `chunk`, and linear attention with `v` at every position. The
parameters and formulas are those of `ddpmx/models/convnext_unet.py`. `StudyEager.of` copies a network's
weights. `tests/models/test_models.py` compares the two.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, einsum, nn

from ddpmx.models.convnext_unet import ConvNextUnetModule

HEADS, HEAD_DIM = 4, 32
HIDDEN = HEADS * HEAD_DIM


class SinusoidalTime(nn.Module):
    """t [n] -> [n, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        frequency = torch.exp(torch.arange(half, device=t.device) * -math.log(10_000) / (half - 1))
        angle = t[:, None] * frequency[None, :]
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class Time(nn.Module):
    """t [n] -> [n, 4·dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sinusoidal = SinusoidalTime(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(self.sinusoidal(t))


class Block(nn.Module):
    """A ConvNeXt block: x [n, before, h, w] -> [n, width, h, w]."""

    def __init__(self, before: int, width: int, time_dim: int | None) -> None:
        super().__init__()
        self.time = nn.Linear(time_dim, before) if time_dim else None
        self.activation = nn.GELU()
        self.depthwise = nn.Conv2d(before, before, 7, padding=3, groups=before)
        self.norm_1 = nn.GroupNorm(1, before)
        self.expand = nn.Conv2d(before, 2 * width, 3, padding=1)
        self.gelu = nn.GELU()
        self.norm_2 = nn.GroupNorm(1, 2 * width)
        self.contract = nn.Conv2d(2 * width, width, 3, padding=1)
        self.residual = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.depthwise(x)
        if self.time is not None:
            h = h + rearrange(self.time(self.activation(time)), "b c -> b c 1 1")
        h = self.norm_2(self.gelu(self.expand(self.norm_1(h))))
        return self.contract(h) + self.residual(x)


class Attention(nn.Module):
    """Softmax attention over the positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(width, 3 * HIDDEN, 1, bias=False)
        self.out = nn.Conv2d(HIDDEN, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q, k, v = (
            rearrange(part, "b (h c) x y -> b h c (x y)", h=HEADS) for part in self.qkv(x).chunk(3, dim=1)
        )
        similarity = einsum("b h d i, b h d j -> b h i j", q * HEAD_DIM**-0.5, k)
        similarity = similarity - similarity.amax(dim=-1, keepdim=True).detach()
        out = einsum("b h i j, b h d j -> b h i d", similarity.softmax(dim=-1), v)
        return self.out(rearrange(out, "b h (x y) d -> b (h d) x y", x=height, y=width))


class LinearAttention(nn.Module):
    """Linear attention, with a softmax over the features of q and one over the positions of k."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(width, 3 * HIDDEN, 1, bias=False)
        self.out = nn.Conv2d(HIDDEN, width, 1)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q, k, v = (
            rearrange(part, "b (h c) x y -> b h c (x y)", h=HEADS) for part in self.qkv(x).chunk(3, dim=1)
        )
        q = q.softmax(dim=-2) * HEAD_DIM**-0.5
        context = einsum("b h d n, b h e n -> b h d e", k.softmax(dim=-1), v)
        out = einsum("b h d e, b h d n -> b h e n", context, q)
        return self.norm(self.out(rearrange(out, "b h c (x y) -> b (h c) x y", x=height, y=width)))


class Level(nn.Module):
    """Two blocks and linear attention."""

    def __init__(self, before: int, width: int, time_dim: int) -> None:
        super().__init__()
        self.block_1 = Block(before, width, time_dim)
        self.block_2 = Block(width, width, time_dim)
        self.norm = nn.GroupNorm(1, width)
        self.attention = LinearAttention(width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.block_2(self.block_1(x, time), time)
        return self.attention(self.norm(x)) + x


class StudyEager(nn.Module):
    """x [n, c, h, w], t [n] -> [n, c, h, w]."""

    def __init__(self, channels: int, dim: int, dim_mults: tuple[int, ...]) -> None:
        super().__init__()
        widths = [dim // 3 * 2, *(dim * multiple for multiple in dim_mults)]
        time_dim, last = 4 * dim, widths[-1]
        self.time = Time(dim)
        self.first = nn.Conv2d(channels, widths[0], 7, padding=3)
        self.down = nn.ModuleList(Level(before, width, time_dim) for before, width in pairwise(widths))
        self.downsample = nn.ModuleList(nn.Conv2d(width, width, 4, 2, 1) for width in widths[1:-1])
        self.middle_1 = Block(last, last, time_dim)
        self.middle_norm = nn.GroupNorm(1, last)
        self.middle_attention = Attention(last)
        self.middle_2 = Block(last, last, time_dim)
        up = list(pairwise(widths[1:]))[::-1]
        self.up = nn.ModuleList(Level(2 * width, before, time_dim) for before, width in up)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(before, before, 4, 2, 1) for before, _ in up)
        self.last = Block(dim * dim_mults[0], dim * dim_mults[0], None)
        self.output = nn.Conv2d(dim * dim_mults[0], channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time(t)
        x = self.first(x)
        skips = []
        for index, level in enumerate(self.down):
            x = level(self.downsample[index - 1](x) if index else x, time)
            skips.append(x)
        x = self.middle_1(x, time)
        x = self.middle_attention(self.middle_norm(x)) + x
        x = self.middle_2(x, time)
        for level, upsample in zip(self.up, self.upsample, strict=True):
            x = upsample(level(torch.cat((x, skips.pop()), dim=1), time))
        return self.output(self.last(x))

    @classmethod
    def of(
        cls, network: ConvNextUnetModule, channels: int, dim: int, dim_mults: tuple[int, ...]
    ) -> StudyEager:
        """A `StudyEager` with copies of the weights of `network`, which computes the same function."""
        eager, theirs = cls(channels, dim, dim_mults), network.state_dict()
        state = {}
        for name, value in eager.state_dict().items():
            if "qkv" in name and name not in theirs:
                weights = torch.cat([theirs[name.replace("qkv", part)] for part in "qkv"])
            else:
                weights = theirs[name]
            state[name] = weights.reshape(value.shape)
        eager.load_state_dict(state)
        return eager
