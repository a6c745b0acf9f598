"""What works on this machine, and a self-check of the hot math."""

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
    """A line of what `doctor` says: `topic  item: text`, or `topic  text`."""

    topic: str
    text: str
    item: str = ""

    def __str__(self) -> str:
        return f"{self.topic:<14}{self.item}{': ' if self.item else ''}{self.text}"


def report() -> Iterator[Fact]:
    """Facts, then checks. Raises RunError when the self-check fails."""
    for name, version in environment.versions().items():
        yield Fact(name, version)
    yield Fact("platform", platform.platform())
    yield Fact("cpu", f"{environment.device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads")
    yield Fact("cuda", torch.cuda.get_device_name() if torch.cuda.is_available() else "no device")
    yield Fact("data", f"DDPMX_DATA={os.environ.get('DDPMX_DATA', '(not set)')}, cache {cache_root()}")
    devices = [torch.device(kind) for kind in (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])]
    for name, there in ops.backends().items():
        yield Fact(
            "backend", _state(name, there, {device.type: ops.active(device) for device in devices}), name
        )
    for device in devices:
        yield Fact("live", f"{ops.active(device)}{_level(device)}", device.type)
        for check, result in self_check(device):
            yield Fact("self-check", result, f"{check} on {device.type}")


def as_data(facts: Iterator[Fact]) -> dict[str, str | dict[str, str]]:
    """{topic: text}, or {topic: {item: text}} where a topic has several."""
    data: dict[str, str | dict[str, str]] = {}
    items: dict[str, dict[str, str]] = {}
    for fact in facts:
        if fact.item:
            items.setdefault(fact.topic, {})[fact.item] = fact.text
        data[fact.topic] = items.get(fact.topic, fact.text)
    return data


def _state(backend: str, there: bool, live: Mapping[str, str]) -> str:
    """What is built, and on which devices it runs, or why on none; `live` is the backend of each type of device here."""
    if not there:
        return f"not available: {choice.why_missing(backend)}"
    built = "" if backend == "reference" else f", {library.build(backend)}"
    on = [device for device, name in live.items() if name == backend]
    faster = ", ".join(f"{name} is faster on {device}" for device, name in live.items())
    return f"available{built}; " + (f"live on {' and '.join(on)}" if on else f"not live: {faster}")


def _level(device: torch.device) -> str:
    """The CPU level in use, and why not a faster one."""
    if ops.active(device) != "cpp":
        return ""
    used, here, compiled = library.cpu_level(), library.cpu_levels(), library.cpu_levels(all=True)
    reasons = [
        f"not {level}: " + ("DDPMX_CPU_LEVEL forbids it" if level in here else "this processor has none")
        for level in compiled
    ]
    faster = reasons[compiled.index(used) + 1 :]
    return f", CPU level {used}" + (f" ({'; '.join(faster)})" if faster else "")


def self_check(device: torch.device) -> Iterator[tuple[str, str]]:
    """(op, result): the live backend against float64 formulas on one small batch, and its noise against the reference's bits.

    Of the networks' layers, a GELU, its norm and a convolution in one.
    """
    stream = ops.stream(ops.Purpose.NOISE, 1)
    noise = ops.Noise(7, stream, torch.arange(3, device=device))
    epsilon = ops.normal(noise=noise, shape=(2, 5, 5))
    with ops.use_backend("reference"):
        if not torch.equal(epsilon, ops.normal(noise=noise, shape=(2, 5, 5))):
            raise RunError(f"self-check: the noise on {device.type} is not that of the reference")
    yield "noise", "equal to the reference's bit for bit"
    x = torch.linspace(-1, 1, epsilon.numel(), device=device).view_as(epsilon)
    signal, sigma = torch.tensor([0.9, 0.5, 0.1], device=device), torch.tensor([0.4, 0.8, 1.0], device=device)
    wide = [tensor.double() for tensor in (x, epsilon, signal.view(3, 1, 1, 1), sigma.view(3, 1, 1, 1))]
    x_t = wide[2] * wide[0] + wide[3] * wide[1]
    row = Row(t=0, x0_from_x=1.5, x0_from_output=-0.5, c_x=0.3, c_x0=0.6, c_noise=0.1)
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
    given, wide = (images, gamma, beta, weight), [value.double() for value in (images, gamma, beta, weight)]
    checks["norm_conv3x3"] = (_layers(ops.norm_conv3x3, given), _layers(in_torch.norm_conv3x3, wide))
    for name, (got, wanted) in checks.items():
        error = float((got.double() - wanted).abs().max())
        if not error < (1e-5 if name == "norm_conv3x3" else 1e-6):
            raise RunError(f"self-check: {name} on {device.type} is {error:.1e} off its float64 formula")
        yield name, f"largest error {error:.1e}"


def _layers(function: Callable[..., torch.Tensor], given: Sequence[torch.Tensor]) -> torch.Tensor:
    x, gamma, beta, weight = given
    return function(x, gamma, beta, 1e-5, weight, beta, gelu=True)
