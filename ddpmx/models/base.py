"""The interface between networks and the rest of ddpmx."""

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
"""Widths of the levels as multiples of `dim`. The image's side is halved from each level to the next."""

OUTPUT_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
"""Dtypes that a network may return."""


def _watch(network: nn.Module, method: Method, arguments: Arguments) -> nn.Module:
    """Wrap a plugin's network so that the dtype, shape and device of each output are checked."""
    channels = arguments.get("outputs") or arguments["channels"]

    def problem(inputs: tuple[Tensor, ...], output: object) -> str:
        x = inputs[0]
        expected = [x.shape[0], channels, *x.shape[2:]]  # [n, outputs, h, w]
        if (
            isinstance(output, Tensor)
            and output.dtype in OUTPUT_DTYPES
            and list(output.shape) == expected
            and output.device == x.device
        ):
            return ""
        return f"should return floating-point numbers {expected} on {x.device}, not {described(output)}"

    return watch_module(network, method, problem)


class Model(Component):
    """Base of all models: override `build`."""

    contract: ClassVar[Contract] = {
        "build": Replace(lambda _, arguments, value: instance(value, nn.Module), _watch)
    }

    time: TimeInput = "index"
    """Input of the time embedding: `index` (of the table), `scaled_1000` (index·1000/T) or `log_snr`."""

    def build(self, channels: int, size: int) -> nn.Module:
        """Build a network for images [n, channels, size, size]; its weights are drawn from torch's generator.

        The network's forward takes x [n, c, h, w] and t, float32 [n] from `embed_time`, and returns
        [n, c, h, w]. Raises SpecError if the network cannot handle this size.
        """
        raise NotImplementedError

    @property
    def conditional(self) -> bool:
        """Whether the network takes class labels."""
        return False

    @property
    def self_conditioned(self) -> bool:
        """Whether the network takes an estimate of x_0 in addition to x."""
        return False

    @property
    def learns_variance(self) -> bool:
        """Whether the output has as many channels again, for the variance of a sampling step."""
        return False


class ConditionalModel(Model):
    """Base of models that support class labels, self-conditioning and learned variance: override `build`."""

    classes: bool = False
    """Condition the network on each image's class, for `sample --classes`; the data set needs labels."""

    self_condition: bool = False
    """Feed back the network's last estimate of x_0; training takes 1.5 times as long (Chen et al. 2022)."""

    learned_variance: bool = False
    """Also predict the variance of a sampling step, for samplers that use it (Nichol & Dhariwal 2021)."""

    def build(
        self,
        channels: int,
        size: int,
        classes: int | None = None,
        *,
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> nn.Module:
        """Like `Model.build`. With `classes`, the forward takes x, t and labels, int64 [n] in 0 … classes.

        The label `classes` means "no class". Classifier-free guidance trains it on images whose class was
        dropped. Ho & Salimans 2022, arXiv:2207.12598.

        x has `inputs` channels and the output has `outputs`; None means as many as the images. The caller
        doubles them for self_condition and learned_variance: see `Experiment.denoiser`.
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
    """Raises SpecError unless `size` can be halved once between each pair of adjacent levels."""
    halvings = len(dim_mults) - 1
    factor = 2**halvings
    if size % factor:
        below = size // factor * factor
        sizes = f"{below} and {below + factor}" if below else str(factor)
        raise SpecError(
            f"{len(dim_mults)} levels halve the image {halvings} times, so its side must be divisible"
            f" by {factor}, but it is {size}",
            field="dim_mults",
            hint=f"the nearest sizes that work: {sizes}; or use fewer levels",
        )
