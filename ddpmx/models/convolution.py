"""Convolutions whose work on CPUs our own kernels do where they are faster."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops import conv3x3, depthwise


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution of stride 1 that keeps the image's size: `ops.conv3x3`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return conv3x3(x, self.weight, self.bias)


class Depthwise7x7(nn.Conv2d):
    """A 7×7 convolution of each channel by itself: `ops.depthwise`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return depthwise(x, self.weight, self.bias)
