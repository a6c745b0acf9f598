"""What a spec describes, built: data, coefficients, network; shared by training, sampling and evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import ops
from ..data import Data
from ..errors import Findings, SpecError
from ..models import embed_time
from ..models.size import check_memory
from ..optimizers.adam import Adam, AdamW
from ..predictions import Prediction
from ..sampling.guidance import guided
from ..schedules import Table
from ..spec.checks import check
from ..spec.schema import Spec, TrainSpec
from .coefficients import Coefficients, coefficients

Denoise = Callable[..., Tensor]
"""denoise(x, t), or denoise(x, t, x0) for a self-conditioned network."""


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

    def network_input(self, x: Tensor, scale: Tensor | None, x0: Tensor | None = None) -> Tensor:
        """What the network sees of x [n, c, h, w]: x times its prediction's `input_scale` [n], if there is one.

        A self-conditioned network has as many channels again for the estimate x0, which is not scaled; None is zeros.
        """
        scaled = x if scale is None else x * scale.to(x).view(-1, 1, 1, 1)
        if self.spec.model.self_conditioned:
            return torch.cat((scaled, torch.zeros_like(x) if x0 is None else x0.to(x.dtype)), dim=1)
        if x0 is not None:
            raise ValueError("x0 is for a self-conditioned network")
        return scaled

    def output(
        self, network: nn.Module, x: Tensor, t: Tensor, labels: Tensor | None = None, x0: Tensor | None = None
    ) -> Tensor:
        """The network's output at table indices t [n], which may be fractional; in x's dtype.

        `labels` [n] are for a network with classes, x0 is the last estimate of x_0 for a self-conditioned one. A network that
        learns the variance returns it as a second half of channels.
        """
        t = t.cpu().double()
        time = embed_time(t, self.table, self.spec.model.time).to(self.device)
        seen = self.network_input(x, self.prediction.input_scale(*self.table.at(t)), x0)
        told = () if labels is None else (labels.to(self.device),)
        with self.autocast():
            return network(seen, time, *told).to(x.dtype)  # type: ignore[no-any-return]

    def denoiser(self, network: nn.Module, labels: Tensor | None = None) -> Denoise:
        """denoise(x, t, x0=None) of `ddpmx.sample`: `output`, for labels guided towards them as the spec's `guidance` says."""
        if labels is None:
            return lambda x, t, x0=None: self.output(network, x, t, None, x0)
        options = self.spec.guidance
        return guided(
            partial(self.output, network),
            labels.to(self.device),
            len(self.classes),
            self.table,
            weight=options.weight,
            rescale=options.rescale,
            interval=options.interval,
        )

    def autocast(self) -> torch.autocast:
        """The spec's `train.precision`."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.spec.train.precision == "bfloat16"
        )


def check_labels(spec: Spec, data: Data) -> None:
    """Raises SpecError for a network that is to be told classes which the data do not have."""
    if spec.model.conditional:
        for split, images in (("training", data.train), ("validation", data.validation)):
            if images.labels is None or data.classes is None:
                message = f"the {split} images of '{data.name}' have no labels"
                raise spec.error(
                    "model.classes", message, hint="model.classes: false, or a labelled data set"
                )


def load_data(spec: Spec) -> Data:
    """The data set, which suits the spec's metrics and network. Raises SpecError where it is not there or does not."""
    with spec.blame("dataset"):
        data = spec.dataset.load(Path.cwd())
    check_data(spec, data)
    return data


def look(spec: Spec) -> Data:
    """The data set from a short look: of a large one, images of the right number, shape and labels without content."""
    with spec.blame("dataset"):
        return spec.dataset.look(Path.cwd())


def check_data(spec: Spec, data: Data) -> None:
    """Raises SpecError where the data do not suit the spec's metrics and network."""
    findings = Findings()
    for index, metric in enumerate(spec.evaluate.metrics):
        with findings.collect(), spec.blame(f"evaluate.metrics.{index}"):
            metric.check(data)
    with findings.collect():
        check_labels(spec, data)
    findings.report()


def build(
    spec: Spec, device: torch.device, shape: Data | None = None, *, training: bool = False
) -> Experiment:
    """Load the data and build the network, with weights that are a function of `seed`.

    `shape` stands for data whose images will not be looked at, which are then not loaded. Raises SpecError, also where the
    network is larger than the memory; with `training`, where that cannot hold its training.
    """
    table = check(spec)
    with spec.blame("backend"), ops.use_backend(spec.backend):
        ops.active(device)  # a SpecError where that backend does not run there
    data = load_data(spec) if shape is None else shape
    with spec.blame("model"):
        classes = [len(data.classes)] if spec.model.conditional and data.classes else []
        more = {"inputs": 2 * data.channels} if spec.model.self_conditioned else {}
        more |= {"outputs": 2 * data.channels} if spec.model.learns_variance else {}
        make: Callable[[], nn.Module] = partial(spec.model.build, data.channels, data.size, *classes, **more)
        check_memory(spec.model, make, copies(spec.train) if training and device.type == "cpu" else 1)
        torch.manual_seed(spec.seed)
        network = make()
    return Experiment(
        spec, data, table, spec.prediction, coefficients(spec, table, device), network.to(device), device
    )


def copies(train: TrainSpec) -> int:
    """How many numbers training holds for each weight at least: weights, gradients, their average and Adam's two means."""
    return 2 + (train.ema is not None) + 2 * isinstance(train.optimizer, Adam | AdamW)


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
            f"the device '{name}' cannot be used: {str(error).splitlines()[0]}",
            field="--device",
            hint="cpu, cuda or mps",
        ) from None
    return device
