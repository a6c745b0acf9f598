"""What the ops demand of their arguments, whichever backend runs. Every error names the argument."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import Noise

FLOATS = (torch.float32, torch.bfloat16, torch.float64)
SINGLE, DOUBLES, IDS = (torch.float32,), (torch.float32, torch.float64), (torch.int64,)
ELEMENTS = 2**34  # a sample's counters have 32 bits, and 32 counters serve 128 elements


def tensor(name: str, value: object, dtypes: Sequence[torch.dtype]) -> None:
    """A tensor of one of the dtypes."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} should be a tensor, not {type(value).__name__}")
    if value.dtype not in dtypes:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(dtypes))
        raise TypeError(f"{name} should be {wanted}, not {str(value.dtype).removeprefix('torch.')}")


def batch(name: str, value: object) -> None:
    """A float tensor [B, …]."""
    tensor(name, value, FLOATS)
    if isinstance(value, Tensor) and value.ndim == 0:
        raise ValueError(f"{name} should have shape [B, …], and has no dimension")


def beside(
    name: str, value: object, x_name: str, x: Tensor, dtypes: Sequence[torch.dtype], shape: Sequence[int]
) -> None:
    """A tensor of that shape on the device of x."""
    tensor(name, value, dtypes)
    assert isinstance(value, Tensor)
    if value.shape != shape:
        raise ValueError(
            f"{name} should have shape {list(shape)}, to match {x_name}, not {list(value.shape)}"
        )
    if value.device != x.device:
        raise ValueError(f"{name} should be on {x.device}, where {x_name} is, not on {value.device}")


def alike(name: str, value: object, x_name: str, x: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    """A tensor of the shape of x."""
    beside(name, value, x_name, x, dtypes, x.shape)


def per_sample(x_name: str, x: Tensor, **vectors: object) -> None:
    """Each [B] float32 for the batch x; float64 too where x is computed in float64."""
    dtypes, shape = DOUBLES if x.dtype == torch.float64 else SINGLE, x.shape[:1]
    for name, value in vectors.items():
        beside(name, value, x_name, x, dtypes, shape)


def target(value: Tensor | None, x_name: str, x: Tensor) -> None:
    """An `out=`: like x, and writable element by element."""
    if value is None:
        return
    alike("out", value, x_name, x, (x.dtype,))
    if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
        raise ValueError("out has elements that share memory (an expanded tensor)")


def integer(name: str, value: object, low: int, high: int) -> None:
    """A Python int in [low, high)."""
    if type(value) is int and low <= value < high:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be an int, not {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} should be from {low} to {high - 1}, not {value}")


def positive(name: str, value: object) -> None:
    """A finite number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} should be a number, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} should be a finite number above 0, not {value}")


def key(noise: Noise) -> None:
    """What the generator's numbers are a function of."""
    tensor("sample_ids", noise.sample_ids, IDS)
    if noise.sample_ids.ndim != 1:
        raise ValueError(f"sample_ids should have shape [B], not {list(noise.sample_ids.shape)}")
    integer("stream", noise.stream, 0, 2**32)
    integer("seed", noise.seed, -(2**63), 2**64)


def ids(sample_ids: Tensor) -> None:
    """No negative ids. Those on another device than the CPU go unseen: to look would wait for it."""
    if torch.compiler.is_compiling() or not isinstance(sample_ids, Tensor) or sample_ids.device.type != "cpu":
        return
    if sample_ids.numel() and int(sample_ids.min()) < 0:
        raise ValueError(f"sample_ids should be 0 or more, not {int(sample_ids.min())}")


def sample_shape(name: str, shape: object) -> Sequence[int]:
    """The shape of one sample, as it was given."""
    if not isinstance(shape, Sequence):
        raise TypeError(f"{name} should be a sequence of ints, not {type(shape).__name__}")
    for size in shape:
        integer(name, size, 0, ELEMENTS + 1)
    if math.prod(shape) > ELEMENTS:
        raise ValueError(f"{name} has more than 2**34 elements a sample")
    return shape


def noise(value: Noise, x_name: str, x: Tensor) -> None:
    """Where ε for the batch x comes from: a tensor, float32 or of x's dtype, or else the generator."""
    key(value)
    beside("sample_ids", value.sample_ids, x_name, x, IDS, x.shape[:1])
    sample_shape(x_name, x.shape[1:])
    if value.given is not None:
        alike("noise", value.given, x_name, x, (torch.float32, x.dtype))
    ids(value.sample_ids)


def wants_gradient(*arguments: object) -> bool:
    """Whether autograd would expect a gradient for one of them."""
    if torch.is_grad_enabled():
        for value in arguments:
            if value is not None and getattr(value, "requires_grad", False):
                return True
    return False


def no_gradient(op: str, **arguments: object) -> None:
    """A gradient is never dropped in silence. A tuple's tensors are named by their places."""
    for name, value in arguments.items():
        if isinstance(value, tuple):
            no_gradient(op, **{f"{name}[{i}]": item for i, item in enumerate(value)})
        elif wants_gradient(value):
            raise RuntimeError(
                f"{op} passes no gradient on, and {name} requires one: call it under torch.no_grad(), or use weighted_loss"
            )
