"""Checks of the ops' arguments, the same for every backend. Each error names the argument."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import Noise

FLOATS = (torch.float32, torch.bfloat16, torch.float64)
FLOAT32, FLOAT32_OR_64, INT64 = (torch.float32,), (torch.float32, torch.float64), (torch.int64,)
MAX_ELEMENTS = 2**34  # of a sample: its counters have 32 bits, and 32 counters make 128 elements


def tensor(name: str, value: object, dtypes: Sequence[torch.dtype]) -> None:
    """Raise TypeError unless `value` is a tensor of one of the dtypes."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} should be a tensor, not {type(value).__name__}")
    if value.dtype not in dtypes:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(dtypes))
        raise TypeError(f"{name} should be {wanted}, not {str(value.dtype).removeprefix('torch.')}")


def batch(name: str, value: object) -> None:
    """Raise unless `value` is a float tensor [B, …]."""
    tensor(name, value, FLOATS)
    if isinstance(value, Tensor) and value.ndim == 0:
        raise ValueError(f"{name} should have shape [B, …], not []")


def like(
    name: str, value: object, x_name: str, x: Tensor, dtypes: Sequence[torch.dtype], shape: Sequence[int]
) -> None:
    """Raise unless `value` is a tensor of one of the dtypes, of `shape` and on the device of x."""
    tensor(name, value, dtypes)
    assert isinstance(value, Tensor)
    if value.shape != shape:
        raise ValueError(f"{name} should have shape {list(shape)}, like {x_name}, not {list(value.shape)}")
    if value.device != x.device:
        raise ValueError(f"{name} should be on {x.device}, where {x_name} is, not on {value.device}")


def same_shape(name: str, value: object, x_name: str, x: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    """Raise unless `value` is a tensor of one of the dtypes, with the shape and device of x."""
    like(name, value, x_name, x, dtypes, x.shape)


def per_sample(x_name: str, x: Tensor, **vectors: object) -> None:
    """Raise unless each vector is [B], float32 or, for a float64 batch x, float64."""
    dtypes, shape = FLOAT32_OR_64 if x.dtype == torch.float64 else FLOAT32, x.shape[:1]
    for name, value in vectors.items():
        like(name, value, x_name, x, dtypes, shape)


def target(value: Tensor | None, x_name: str, x: Tensor) -> None:
    """Raise unless an `out=` argument is like x, with memory of its own for each element."""
    if value is None:
        return
    same_shape("out", value, x_name, x, (x.dtype,))
    if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
        raise ValueError("out has elements that share memory (an expanded tensor)")


def integer(name: str, value: object, low: int, high: int) -> None:
    """Raise unless `value` is a Python int in [low, high)."""
    if type(value) is int and low <= value < high:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be an int, not {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} should be from {low} to {high - 1}, not {value}")


def positive(name: str, value: object) -> None:
    """Raise unless `value` is a finite number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} should be a number, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} should be a finite number above 0, not {value}")


def key(noise: Noise) -> None:
    """Raise unless the sample ids, stream and seed are ones that the generator takes."""
    tensor("sample_ids", noise.sample_ids, INT64)
    if noise.sample_ids.ndim != 1:
        raise ValueError(f"sample_ids should have shape [B], not {list(noise.sample_ids.shape)}")
    integer("stream", noise.stream, 0, 2**32)
    integer("seed", noise.seed, -(2**63), 2**64)


def ids(sample_ids: Tensor) -> None:
    """Raise ValueError for a negative id on the CPU. Reading ids elsewhere would wait for the device."""
    if torch.compiler.is_compiling() or not isinstance(sample_ids, Tensor) or sample_ids.device.type != "cpu":
        return
    if sample_ids.numel() and int(sample_ids.min()) < 0:
        raise ValueError(f"sample_ids should be 0 or more, not {int(sample_ids.min())}")


def sample_shape(name: str, shape: object) -> Sequence[int]:
    """The shape of one sample, once it is checked."""
    if not isinstance(shape, Sequence):
        raise TypeError(f"{name} should be a sequence of ints, not {type(shape).__name__}")
    for size in shape:
        integer(name, size, 0, MAX_ELEMENTS + 1)
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{name} should have at most 2**34 elements per sample, not {math.prod(shape)}")
    return shape


def noise(value: Noise, x_name: str, x: Tensor) -> None:
    """Raise unless `value` fits the batch x. A tensor ε should be float32 or of x's dtype."""
    key(value)
    like("sample_ids", value.sample_ids, x_name, x, INT64, x.shape[:1])
    sample_shape(x_name, x.shape[1:])
    if value.given is not None:
        same_shape("noise", value.given, x_name, x, (torch.float32, x.dtype))
    ids(value.sample_ids)


def wants_gradient(*arguments: object) -> bool:
    """Whether autograd would expect a gradient for one of the arguments."""
    if torch.is_grad_enabled():
        for value in arguments:
            if value is not None and getattr(value, "requires_grad", False):
                return True
    return False


def no_gradient(op: str, **arguments: object) -> None:
    """Raise RuntimeError if an argument requires a gradient, which would be lost.

    Tensors in a tuple are named by their index.
    """
    for name, value in arguments.items():
        if isinstance(value, tuple):
            no_gradient(op, **{f"{name}[{i}]": item for i, item in enumerate(value)})
        elif wants_gradient(value):
            raise RuntimeError(
                f"{op} passes no gradient on, and {name} requires one: call it under torch.no_grad(), "
                "or use weighted_loss"
            )
