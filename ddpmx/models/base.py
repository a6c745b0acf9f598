"""What every network is to the rest of ddpmx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import described, instance
from ..plugins.guard import Arguments, Contract, Method, Replace
from ..plugins.watched_module import watch_module
from .embedding import TimeInput

Multiples = tuple[Annotated[int, Field(ge=1, le=64)], ...]
"""Widths of the levels as multiples of `dim`; between two levels the image's side is halved."""


DTYPES = (torch.float32, torch.bfloat16, torch.float64)
"""Of a network's output."""


def _watch(network: nn.Module, method: Method, given: Arguments) -> nn.Module:
    """A plugin's network, whose outputs are images of the shape of what it is given."""
    channels = given.get("outputs") or given["channels"]

    def problem(inputs: tuple[Tensor, ...], output: object) -> str:
        x = inputs[0]
        wanted = [x.shape[0], channels, *x.shape[2:]]
        if (
            isinstance(output, Tensor)
            and output.dtype in DTYPES
            and list(output.shape) == wanted
            and output.device == x.device
        ):
            return ""
        return f"should return floating-point numbers {wanted} on {x.device}, not {described(output)}"

    return watch_module(network, method, problem)


class Model(Component):
    """Base of all models: override `build`."""

    contract: ClassVar[Contract] = {
        "build": Replace(lambda _, given, value: instance(value, nn.Module), _watch)
    }

    time: TimeInput = "index"
    """What the time embedding sees: the table's index, scaled_1000 (index·1000/T) or log_snr."""

    def build(self, channels: int, size: int) -> nn.Module:
        """A network for images [n, channels, size, size], its weights drawn from torch's generator.

        Its forward takes x [n, c, h, w] and t, float32 [n] from `embed_time`, and returns [n, c, h, w]. Raises
        SpecError for a size that the network cannot take.
        """
        raise NotImplementedError

    @property
    def conditional(self) -> bool:
        """Whether the network is told the class of an image."""
        return False

    @property
    def self_conditioned(self) -> bool:
        """Whether the network is given an estimate of x_0 beside x."""
        return False

    @property
    def learns_variance(self) -> bool:
        """Whether the network's output has a second half of channels, for the variance of a sampling step."""
        return False


class ConditionalModel(Model):
    """Base of the models whose network can be given more than x and t, and can tell more: override `build`."""

    classes: bool = False
    """Tell the network each image's class, so that `sample --classes` chooses; the data set needs labels."""

    self_condition: bool = False
    """Give the network its own last estimate of the image too; a step of training costs half as much again (Chen et al. 2022)."""

    learned_variance: bool = False
    """Let the network tell the variance of a sampling step too, for samplers that use it (Nichol & Dhariwal 2021)."""

    def build(
        self,
        channels: int,
        size: int,
        classes: int | None = None,
        *,
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> nn.Module:
        """As `Model.build`; with `classes`, the forward takes x, t and labels, int64 [n] in 0 … classes.

        The label `classes` stands for "no class": what a network for guidance learns for images whose class it is not
        told. Ho & Salimans 2022, arXiv:2207.12598.

        x has `inputs` channels and the output `outputs`; None: as many as the images. What they hold, and that
        self_condition and learned_variance double them, is the caller's affair: see `Experiment.denoiser`.
        """
        raise NotImplementedError

    @property
    def conditional(self) -> bool:
        return self.classes

    @property
    def self_conditioned(self) -> bool:
        return self.self_condition

    @property
    def learns_variance(self) -> bool:
        return self.learned_variance


def check_size(size: int, dim_mults: Sequence[int]) -> None:
    """Raises SpecError unless `size` can be halved between all levels."""
    halvings = len(dim_mults) - 1
    factor = 2**halvings
    if size % factor:
        below = size // factor * factor
        sizes = f"{below} and {below + factor}" if below else str(factor)
        raise SpecError(
            f"{len(dim_mults)} levels halve the image {halvings} times, so its side should be divisible by {factor}, and it is {size}",
            field="dim_mults",
            hint=f"the nearest sizes that work: {sizes}; or give fewer levels",
        )
