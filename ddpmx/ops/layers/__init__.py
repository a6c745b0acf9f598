"""The network layers that have kernels for CPUs: convolutions, norms, and a norm followed by a convolution.

They use no noise. `in_torch.py` defines them, and runs where there is no kernel. Images are [n, c, h, w]. On
a GPU, under autocast and while torch compiles, each layer is torch's own function.
"""

from __future__ import annotations

from .convolution import conv3x3
from .depthwise7x7 import depthwise
from .normalisation import norm, norm_conv3x3

__all__ = ["conv3x3", "depthwise", "norm", "norm_conv3x3"]
