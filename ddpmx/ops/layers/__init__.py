"""The layers of networks that have kernels for CPUs: convolutions, norms, and a norm before a convolution.
They make no noise; `in_torch.py` defines them, and runs wherever there is no kernel.

Images are [n, c, h, w]. Each layer is torch's own function on a GPU, under autocast, and while torch compiles.
"""

from __future__ import annotations

from .convolution import conv3x3
from .depthwise7x7 import depthwise
from .normalisation import norm, norm_conv3x3

__all__ = ["conv3x3", "depthwise", "norm", "norm_conv3x3"]
