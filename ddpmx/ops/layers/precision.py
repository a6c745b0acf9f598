"""The dtypes of images in which the layers' kernels run: float32, and bfloat16 under autocast.

The kernels compute in float32 in either case. A bfloat16 result is rounded once, and the parameters, their
gradients and all intermediate results are float32. Torch's own functions round the parameters too, and
results in between.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import library


def convolved_dtype(x: Tensor) -> torch.dtype:
    """The dtype of a convolution of x on a CPU, which autocast lowers."""
    if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return x.dtype


def runs_kernels(images: torch.dtype, *parameters: Tensor) -> bool:
    """Whether the kernels take images of this dtype with these parameters."""
    if any(parameter.dtype != torch.float32 for parameter in parameters):
        return False
    if images != torch.bfloat16:
        return images == torch.float32
    # Without autocast, torch refuses bfloat16 images with float32 parameters.
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast and "bfloat16" in library.layer_dtypes()
