"""The operations that use noise, as values: the public functions make them and the backends run them.

`csrc/noise_ops.h` has the same three structs. A value lives for one call of a few microseconds. The classes
are not frozen, because making a frozen value takes longer. `ddpmx.ops` documents the arguments, at the
functions of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, is_grad_enabled

from ..rows import Row
from . import checks
from .noise import Noise

NORMS = ("l1", "l2", "huber")
Result = TypeVar("Result", covariant=True)


class Operation(Protocol[Result]):
    """The interface of the three operations."""

    noise: Noise
    """The source of ε."""

    def is_plain(self) -> bool:
        """Whether the kernels can be tried without checks: plain types, no gradient that would be lost."""

    def check(self) -> None:
        """Raise TypeError, ValueError or RuntimeError for a wrong argument, and name it."""

    def run(self, backend: Backend) -> Result:
        """The result from a backend, which does not check the arguments again."""

    def draws(self) -> bool:
        """Whether ε is needed and has to be drawn."""


class Backend(Protocol):
    """The functions of a backend's module. Arguments are checked before the call, or by its kernels."""

    def normal(self, noise: Noise, shape: Sequence[int]) -> Tensor: ...
    def bits(self, noise: Noise) -> Tensor: ...
    def add_noise(self, op: AddNoise) -> Tensor: ...
    def weighted_loss(self, op: WeightedLoss) -> Tensor: ...
    def reverse_step(self, op: ReverseStep) -> tuple[Tensor, Tensor | None]: ...


@dataclass(slots=True, eq=False)
class AddNoise:
    """x_t = signal·x_start + sigma·ε."""

    x_start: Tensor
    """The clean images, [B, …]."""
    signal: Tensor
    """The factor of x_start, [B]."""
    sigma: Tensor
    """The factor of ε, [B]."""
    noise: Noise
    """The source of ε."""
    out: Tensor | None
    """The memory for x_t, or None for a new tensor."""

    def is_plain(self) -> bool:
        if not is_grad_enabled():
            return True
        given, out = self.noise.given, self.out
        gradient = self.x_start.requires_grad or self.signal.requires_grad or self.sigma.requires_grad
        return not (
            gradient or (given is not None and given.requires_grad) or (out is not None and out.requires_grad)
        )

    def check(self) -> None:
        x_start, signal, sigma, noise, out = self.x_start, self.signal, self.sigma, self.noise, self.out
        checks.batch("x_start", x_start)
        checks.per_sample("x_start", x_start, signal=signal, sigma=sigma)
        checks.noise(noise, "x_start", x_start)
        checks.target(out, "x_start", x_start)
        checks.no_gradient(
            "add_noise", x_start=x_start, signal=signal, sigma=sigma, noise=noise.given, out=out
        )

    def run(self, backend: Backend) -> Tensor:
        return backend.add_noise(self)

    def draws(self) -> bool:
        return self.noise.given is None


@dataclass(slots=True, eq=False)
class WeightedLoss:
    """loss[b] = weight[b] · mean of norm(output − (target_x·x_start + target_eps·ε))."""

    output: Tensor
    """The network's output, [B, …]."""
    x_start: Tensor
    """The clean images, of the same shape."""
    target_x: Tensor
    """The factor of x_start in the target, [B]."""
    target_eps: Tensor
    """The factor of ε in the target, [B]."""
    weight: Tensor
    """The weight of each sample's loss, [B]."""
    noise: Noise
    """The source of ε."""
    norm: str
    """One of NORMS."""
    delta: float
    """The bound of the quadratic part of huber."""

    def is_plain(self) -> bool:
        delta = self.delta
        return (
            type(self.x_start) is Tensor
            and self.norm in NORMS
            and type(delta) is float
            and 0 < delta < math.inf
        )

    def check(self) -> None:
        output, x_start, norm = self.output, self.x_start, self.norm
        checks.batch("output", output)
        checks.same_shape("x_start", x_start, "output", output, checks.FLOATS)
        vectors = {"target_x": self.target_x, "target_eps": self.target_eps, "weight": self.weight}
        checks.per_sample("output", output, **vectors)
        checks.noise(self.noise, "x_start", x_start)
        if output.numel() == 0 and 0 in output.shape[1:]:
            raise ValueError(
                f"output should have an element in each sample, not the shape {list(output.shape)}"
            )
        if norm not in NORMS:
            raise ValueError(f"norm should be one of {', '.join(NORMS)}, not {norm!r}")
        checks.positive("delta", self.delta)

    def run(self, backend: Backend) -> Tensor:
        return backend.weighted_loss(self)

    def draws(self) -> bool:
        return self.noise.given is None


@dataclass(slots=True, eq=False)
class ReverseStep:
    """A row of a sampling plan, applied to the state x: the clipped x0, then x' and m, as in `ddpmx.Row`."""

    x: Tensor
    """The state, [B, …]."""
    output: Tensor
    """The network's output, of the same shape."""
    row: Row
    """The coefficients."""
    history: tuple[Tensor, ...]
    """Earlier m, newest first."""
    anchor: Tensor | None
    """The x of an earlier row, if the row has a c_anchor."""
    clip: float | Tensor | None
    """The bound of |x0|: one number, [B], or None."""
    noise: Noise
    """The source of ε."""
    out: Tensor | None
    """The memory for x', or None for a new tensor."""
    want_m: bool
    """Whether m is computed."""

    def is_plain(self) -> bool:
        clip = self.clip
        if type(self.row) is not Row or type(self.output) is not Tensor:
            return False
        if not (clip is None or type(clip) is Tensor or (type(clip) is float and 0 < clip < math.inf)):
            return False
        if not is_grad_enabled():
            return True
        others = (self.anchor, clip, self.noise.given, self.out)
        return not checks.wants_gradient(self.x, self.output, *self.history, *others)

    def check(self) -> None:
        x, output, row, history = self.x, self.output, self.row, self.history
        anchor, clip, noise, out = self.anchor, self.clip, self.noise, self.out
        checks.batch("x", x)
        checks.same_shape("output", output, "x", x, checks.FLOATS)
        if not isinstance(row, Row):
            raise TypeError(f"row should be a ddpmx.Row, not {type(row).__name__}")
        for i, past in enumerate(history):
            checks.same_shape(f"history[{i}]", past, "x", x, (x.dtype,))
        if len(history) < len(row.c_history) and any(row.c_history[len(history) :]):
            raise ValueError(
                f"history has {len(history)} tensors, but row.c_history has {len(row.c_history)} coefficients"
            )
        if anchor is not None:
            checks.same_shape("anchor", anchor, "x", x, (x.dtype,))
        elif row.c_anchor != 0:
            raise ValueError("anchor is missing: the row needs one, because row.c_anchor is not 0")
        if isinstance(clip, Tensor):
            checks.per_sample("x", x, clip=clip)
        elif clip is not None:
            checks.positive("clip", clip)
        checks.noise(noise, "x", x)
        checks.target(out, "x", x)
        tensors = {
            "x": x,
            "output": output,
            "history": history,
            "anchor": anchor,
            "clip": clip,
            "noise": noise.given,
            "out": out,
        }
        checks.no_gradient("reverse_step", **tensors)

    def run(self, backend: Backend) -> tuple[Tensor, Tensor | None]:
        return backend.reverse_step(self)

    def draws(self) -> bool:
        return self.row.c_noise != 0 and self.noise.given is None
