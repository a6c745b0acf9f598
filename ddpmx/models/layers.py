"""Layers that run on ddpmx's own CPU kernels."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops import (
    GroupNormParameters,
    conv3x3,
    depthwise,
    group_norm,
    norm,
    norm_conv3x3,
    silu_conv3x3,
)


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution of stride 1 that keeps the image's size: `ops.conv3x3`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return conv3x3(x, self.weight, self.bias)

    def after_norm(self, norm: ImageNorm, x: Tensor, *, gelu: bool = False) -> Tensor:
        """The convolution of norm(x), or of norm(GELU(x)) with `gelu`.

        Fused, which needs less memory than one after the other: `ops.norm_conv3x3`.
        """
        assert self.bias is not None
        return norm_conv3x3(x, norm.weight, norm.bias, norm.eps, self.weight, self.bias, gelu=gelu)

    def after_silu(self, norm: GroupNorm, x: Tensor) -> Tensor:
        """The convolution of SiLU(norm(x)), fused: `ops.silu_conv3x3`."""
        assert self.bias is not None
        return silu_conv3x3(x, norm.values(), self.weight, self.bias)


class Depthwise7x7(nn.Conv2d):
    """A 7×7 convolution of each channel separately: `ops.depthwise`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return depthwise(x, self.weight, self.bias)


class ImageNorm(nn.GroupNorm):
    """A GroupNorm with a single group, over all channels and positions of an image: `ops.norm`."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        return norm(x, self.weight, self.bias, self.eps)


class GroupNorm(nn.GroupNorm):
    """GroupNorm, with `silu` followed by SiLU: `ops.group_norm`."""

    def forward(self, x: Tensor, *, silu: bool = False) -> Tensor:
        return group_norm(x, self.values(), silu=silu)

    def values(self) -> GroupNormParameters:
        return GroupNormParameters(self.num_groups, self.weight, self.bias, self.eps)
