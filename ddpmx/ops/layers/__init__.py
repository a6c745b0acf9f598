"""The network layers that have kernels for CPUs: convolutions, norms, norms with an activation and a
convolution, and linear attention.

They use no noise. `in_torch.py` defines them, and runs where there is no kernel: on a GPU and while torch
compiles, each layer is torch's own function. Images are [n, c, h, w], float32 or under autocast bfloat16.
"""

from __future__ import annotations

from .convolution import conv3x3
from .depthwise7x7 import depthwise
from .grouped_norm import group_norm, silu_conv3x3
from .in_torch import AttentionParameters, GroupNormParameters
from .linear_attention import add_linear_attention, fuses_linear_attention
from .normalisation import norm, norm_conv3x3

__all__ = [
    "AttentionParameters",
    "GroupNormParameters",
    "add_linear_attention",
    "conv3x3",
    "depthwise",
    "fuses_linear_attention",
    "group_norm",
    "norm",
    "norm_conv3x3",
    "silu_conv3x3",
]
