"""The facts that `doctor` prints about this machine, and a self-check of the kernels."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from .. import ops
from ..errors import RunError
from ..files import cache_root
from ..ops import choice, library
from ..ops.layers import in_torch
from ..rows import Row
from . import environment


class Fact(NamedTuple):
    """A line that `doctor` prints: `topic  item: text`, or `topic  text`."""

    topic: str
    """The first column, such as `torch`, `backend` or `self-check`."""
    text: str
    """The fact itself."""
    item: str = ""
    """The fact's subject, where a topic has several facts."""

    def __str__(self) -> str:
        return f"{self.topic:<14}{self.item}{': ' if self.item else ''}{self.text}"


def report() -> Iterator[Fact]:
    """All facts about this machine, then the results of the self-check. Raises RunError if a check fails."""
    for name, version in environment.versions().items():
        yield Fact(name, version)
    yield Fact("platform", platform.platform())
    yield Fact("cpu", f"{environment.device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads")
    yield Fact("cuda", torch.cuda.get_device_name() if torch.cuda.is_available() else "no device")
    yield Fact("data", f"DDPMX_DATA={os.environ.get('DDPMX_DATA', '(not set)')}, cache {cache_root()}")
    devices = [torch.device(kind) for kind in (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])]
    active = {device.type: ops.active(device) for device in devices}
    for name, available in ops.backends().items():
        yield Fact("backend", _state(name, available, active), name)
    for device in devices:
        yield Fact("live", f"{ops.active(device)}{_level(device)}", device.type)
        for check, result in self_check(device):
            yield Fact("self-check", result, f"{check} on {device.type}")


def as_data(facts: Iterator[Fact]) -> dict[str, str | dict[str, str]]:
    """The facts as {topic: text}, or {topic: {item: text}} where a topic has several items."""
    data: dict[str, str | dict[str, str]] = {}
    items: dict[str, dict[str, str]] = {}
    for fact in facts:
        if fact.item:
            items.setdefault(fact.topic, {})[fact.item] = fact.text
        data[fact.topic] = items.get(fact.topic, fact.text)
    return data


def _state(backend: str, available: bool, active: Mapping[str, str]) -> str:
    """How a backend was built, and which devices use it or why none does.

    `active` is the backend in use on each type of device.
    """
    if not available:
        return f"not available: {choice.why_missing(backend)}"
    built = "" if backend == "reference" else f", {library.build(backend)}"
    devices = [device for device, name in active.items() if name == backend]
    faster = ", ".join(f"{name} is faster on {device}" for device, name in active.items())
    return f"available{built}; " + (f"live on {' and '.join(devices)}" if devices else f"not live: {faster}")


def _level(device: torch.device) -> str:
    """The CPU level in use, and why the faster ones are not."""
    if ops.active(device) != "cpp":
        return ""
    used, here, compiled = library.cpu_level(), library.cpu_levels(), library.cpu_levels(all=True)
    reasons = [
        f"not {level}: "
        + ("DDPMX_CPU_LEVEL forbids it" if level in here else "this processor does not support it")
        for level in compiled
    ]
    faster = reasons[compiled.index(used) + 1 :]
    return f", CPU level {used}" + (f" ({'; '.join(faster)})" if faster else "")


def self_check(device: torch.device) -> Iterator[tuple[str, str]]:
    """Check the active backend on one small batch; yields (op, result) pairs.

    Noise is compared with the reference backend bit for bit, the other ops with their float64 formulas. The
    only network layer among them is the fused GELU, norm and convolution. Raises RunError for the first op
    that fails.
    """
    stream = ops.stream(ops.Purpose.NOISE, 1)
    noise = ops.Noise(7, stream, torch.arange(3, device=device))
    epsilon = ops.normal(noise=noise, shape=(2, 5, 5))
    with ops.use_backend("reference"):
        if not torch.equal(epsilon, ops.normal(noise=noise, shape=(2, 5, 5))):
            raise RunError(f"self-check: the noise on {device.type} differs from the reference backend's")
    yield "noise", "equal to the reference backend's, bit for bit"
    x = torch.linspace(-1, 1, epsilon.numel(), device=device).view_as(epsilon)
    signal, sigma = torch.tensor([0.9, 0.5, 0.1], device=device), torch.tensor([0.4, 0.8, 1.0], device=device)
    wide = [tensor.double() for tensor in (x, epsilon, signal.view(3, 1, 1, 1), sigma.view(3, 1, 1, 1))]
    x_t = wide[2] * wide[0] + wide[3] * wide[1]
    row = Row(t=0, x0_from_x=1.5, x0_from_output=-0.5, c_x=0.3, c_x0=0.6, c_noise=0.1)
    # x_0 = clip(x0_from_x·x + x0_from_output·output); x_next = c_x·x + c_x0·x_0 + c_noise·ε; here output = ε
    x0 = (1.5 * wide[0] - 0.5 * wide[1]).clamp(-1, 1)
    ones = torch.ones(3, device=device)
    x_next, _ = ops.reverse_step(x, epsilon, row, clip=1.0, noise=noise)
    loss = ops.weighted_loss(x, x, 0 * ones, ones, ones, noise=noise)
    checks = {
        "add_noise": (ops.add_noise(x, signal, sigma, noise=noise), x_t),
        "reverse_step": (x_next, 0.3 * wide[0] + 0.6 * x0 + 0.1 * wide[1]),
        "weighted_loss": (loss, (wide[0] - wide[1]).square().mean((1, 2, 3))),
    }
    ids, gamma, beta = (
        torch.arange(16, device=device),
        torch.ones(16, device=device),
        torch.zeros(16, device=device),
    )
    images, weight = ops.normal(ids[:4], stream, 7, (16, 16, 16)), ops.normal(ids, stream, 8, (16, 3, 3)) / 12
    single = (images, gamma, beta, weight)
    double = [value.double() for value in single]
    checks["norm_conv3x3"] = (_layers(ops.norm_conv3x3, single), _layers(in_torch.norm_conv3x3, double))
    for name, (result, expected) in checks.items():
        error = float((result.double() - expected).abs().max())
        if not error < (1e-5 if name == "norm_conv3x3" else 1e-6):
            raise RunError(
                f"self-check: {name} on {device.type} differs from its float64 formula by up to {error:.1e}"
            )
        yield name, f"largest error {error:.1e}"


def _layers(function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Call a form of `norm_conv3x3` on (x, gamma, beta, weight), with beta as the bias."""
    x, gamma, beta, weight = inputs
    return function(x, gamma, beta, 1e-5, weight, beta, gelu=True)
