"""What a spec describes, built: data, coefficients, network; shared by training, sampling and evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import ops
from .data import Data
from .errors import SpecError
from .guidance import guided
from .models import embed_time
from .predictions import Prediction
from .schedules import Table
from .spec import GuidanceSpec, Spec

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Coefficients:
    """The table's columns that a training step gathers by index: float32 [T] on the device."""

    signal: Tensor
    sigma: Tensor
    target_x: Tensor
    target_eps: Tensor
    weight: Tensor
    importance: Tensor
    """What multiplies the training loss besides, for the way its t are drawn."""
    time: Tensor
    """What the network's time embedding sees."""
    input_scale: Tensor | None
    """What x_t is multiplied by before the network sees it."""


@dataclass(frozen=True)
class Experiment:
    """A spec with its parts built on a device."""

    spec: Spec
    data: Data
    table: Table
    prediction: Prediction
    coefficients: Coefficients
    network: nn.Module
    device: torch.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (self.data.channels, self.data.size, self.data.size)

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that the network is told; none for a network that is told none."""
        return self.data.classes or () if self.spec.model.conditional else ()

    def spread(self, count: int, classes: Sequence[int] = ()) -> Tensor | None:
        """Labels, int64 [count], of images that are spread evenly over the classes, in order (all of them by default).

        None for a network that is told none.
        """
        if not self.classes:
            return None
        chosen = torch.tensor(classes or range(len(self.classes)))
        return chosen[torch.arange(count) * len(chosen) // count]

    def denoiser(self, network: nn.Module, labels: Tensor | None = None) -> Denoise:
        """denoise(x, t): the network's output at table indices t [n], which may be fractional; in x's dtype.

        With `labels` [n], for a network with classes, it is guided towards them as the spec's `guidance` says.
        """

        def denoise(x: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
            t = t.cpu().double()
            time = embed_time(t, self.table, self.spec.model.time).to(self.device)
            scale = self.prediction.input_scale(*self.table.at(t))
            scaled = x if scale is None else x * scale.to(x).view(-1, 1, 1, 1)
            with self.autocast():
                return network(scaled, time, *labels).to(x.dtype)  # type: ignore[no-any-return]

        if labels is None:
            return denoise
        options = self.spec.guidance
        return guided(
            denoise,
            labels.to(self.device),
            len(self.classes),
            self.table,
            weight=options.weight,
            rescale=options.rescale,
            interval=options.interval,
        )

    def autocast(self) -> torch.autocast:
        """The spec's `train.precision`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.train.precision == "bfloat16")


def check(spec: Spec) -> Table:
    """Everything about a spec that needs no data: raises SpecError at the field that cannot work."""
    with spec.blame("schedule"):
        table: Table = spec.schedule.table()
    with spec.blame("loss.weighting"):
        spec.loss.weighting.weights(table, spec.prediction)
    with spec.blame("time"):
        spec.time.draw(torch.zeros(1, dtype=torch.float64), table)
        spec.time.importance(table)
    with spec.blame("sampler"):
        spec.sampler.plan(table, spec.prediction)
    with spec.blame("evaluate.sampler"):
        spec.evaluate.sampler.plan(table, spec.prediction)
    check_guidance(spec)
    for index, tracker in enumerate(spec.track):
        with spec.blame(f"track.{index}"):
            tracker.check()
    with spec.blame("backend"), ops.use_backend(spec.backend):
        return table


def check_guidance(spec: Spec) -> None:
    """Raises SpecError where a network without classes is to hide or follow them, or guidance lacks what it needs."""
    if not spec.model.conditional:
        hint = "model.classes: true gives it some"
        if spec.train.label_dropout is not None:
            with spec.blame("train.label_dropout"):
                raise SpecError("the network is told no classes, so there is none to hide", hint=hint)
        if spec.guidance != GuidanceSpec():
            with spec.blame("guidance"):
                raise SpecError("the network is told no classes, so there is none to be guided to", hint=hint)
    elif spec.train.label_dropout == 0 and spec.guidance.weight != 1:
        with spec.blame("guidance.weight"):
            raise SpecError("should be 1, as with train.label_dropout 0 the network never learns what an image of no class is")


def check_labels(spec: Spec, data: Data) -> None:
    """Raises SpecError for a network that is to be told classes which the data do not have."""
    if spec.model.conditional:
        with spec.blame("model.classes"):
            for split, images in (("training", data.train), ("validation", data.validation)):
                if images.labels is None or data.classes is None:
                    raise SpecError(
                        f"the {split} images of '{data.name}' have no labels", hint="model.classes: false, or a labelled data set"
                    )


def build(spec: Spec, device: torch.device) -> Experiment:
    """Load the data and build the network, with weights that are a function of `seed`. Raises SpecError."""
    table = check(spec)
    with spec.blame("backend"), ops.use_backend(spec.backend):
        ops.active(device)  # a SpecError where that backend does not run there
    with spec.blame("dataset"):
        data: Data = spec.dataset.load(Path.cwd())
    for index, metric in enumerate(spec.evaluate.metrics):
        with spec.blame(f"evaluate.metrics.{index}"):
            metric.check(data)
    check_labels(spec, data)
    torch.manual_seed(spec.seed)
    with spec.blame("model"):
        classes = [len(data.classes)] if spec.model.conditional and data.classes else []
        network: nn.Module = spec.model.build(data.channels, data.size, *classes)
    indices = torch.arange(table.timesteps, dtype=torch.float64)
    target_x, target_eps = spec.prediction.target(table.signal, table.sigma)
    weight = spec.loss.weighting.weights(table, spec.prediction)
    input_scale = spec.prediction.input_scale(table.signal, table.sigma)

    def column(values: Tensor) -> Tensor:
        return values.to(device, torch.float32)

    coefficients = Coefficients(
        signal=column(table.signal),
        sigma=column(table.sigma),
        target_x=column(target_x),
        target_eps=column(target_eps),
        weight=column(weight),
        importance=column(spec.time.importance(table)),
        time=column(embed_time(indices, table, spec.model.time)),
        input_scale=None if input_scale is None else column(input_scale),
    )
    return Experiment(spec, data, table, spec.prediction, coefficients, network.to(device), device)


def choose_device(name: str | None) -> torch.device:
    """The named device, or the fastest there is. Raises SpecError for one that is not there."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"the device '{name}' cannot be used: {str(error).splitlines()[0]}", field="--device", hint="cpu, cuda or mps"
        ) from None
    return device
