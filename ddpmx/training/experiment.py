"""The data, coefficients and network built from a spec, shared by training, sampling and evaluation."""

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
from ..objective.coefficients import Coefficients, Formulation, coefficients
from ..objective.steps import scaled
from ..optimizers.adam import Adam, AdamW
from ..predictions import Prediction
from ..sampling.guidance import guided
from ..schedules import Table
from ..spec.checks import check
from ..spec.schema import Spec, TrainSpec

Denoise = Callable[..., Tensor]
"""denoise(x, t), or denoise(x, t, x0) for a self-conditioned network."""


@dataclass(frozen=True)
class Experiment:
    """A spec with its parts built on a device."""

    spec: Spec
    """The spec, after its checks."""
    data: Data
    """The data set."""
    table: Table
    """Signal, sigma and log-SNR at each index."""
    prediction: Prediction
    """What the network predicts."""
    coefficients: Coefficients
    """Coefficients of a training step, float32 on the device."""
    network: nn.Module
    """The network, on the device."""
    device: torch.device
    """The device of the network."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return (self.data.channels, self.data.size, self.data.size)

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the network is conditioned on; empty for an unconditional network."""
        return self.data.classes or () if self.spec.model.conditional else ()

    def spread(self, count: int, classes: Sequence[int] = ()) -> Tensor | None:
        """Labels for images spread evenly over `classes` in order (all by default): int64 [count].

        None for a network without classes.
        """
        if not self.classes:
            return None
        chosen = torch.tensor(classes or range(len(self.classes)))
        return chosen[torch.arange(count) * len(chosen) // count]

    def network_input(self, x: Tensor, scale: Tensor | None, x0: Tensor | None = None) -> Tensor:
        """The network's input for x [n, c, h, w]: x times the prediction's `input_scale` [n], if it has one.

        A self-conditioned network's input is [n, 2c, h, w], with the estimate x0 (None: zeros) as further
        channels, not scaled.
        """
        network_input = scaled(x, scale)
        if self.spec.model.self_conditioned:
            return torch.cat((network_input, torch.zeros_like(x) if x0 is None else x0.to(x.dtype)), dim=1)
        if x0 is not None:
            raise ValueError("x0 needs a self-conditioned network, and this one is not")
        return network_input

    def output(
        self, network: nn.Module, x: Tensor, t: Tensor, labels: Tensor | None = None, x0: Tensor | None = None
    ) -> Tensor:
        """The network's output for x [n, c, h, w] at table indices t [n] (may be fractional), in x's dtype.

        `labels` [n] are for a class-conditional network, and x0 is the last estimate of x_0 for a
        self-conditioned one. The output is [n, c, h, w], or [n, 2c, h, w] if the network learns the variance.
        """
        t = t.cpu().double()
        time = embed_time(t, self.table, self.spec.model.time).to(self.device)
        network_input = self.network_input(x, self.prediction.input_scale(*self.table.at(t)), x0)
        condition = () if labels is None else (labels.to(self.device),)
        with self.autocast():
            return network(network_input, time, *condition).to(x.dtype)  # type: ignore[no-any-return]

    def denoiser(self, network: nn.Module, labels: Tensor | None = None) -> Denoise:
        """denoise(x, t, x0=None) for `ddpmx.sample`; labels are guided by the spec's `guidance`."""
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
        """The context that runs the network in the spec's `train.precision`."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.spec.train.precision == "bfloat16"
        )


def check_labels(spec: Spec, data: Data) -> None:
    """Raises SpecError if the network is class-conditional and the data have no labels."""
    if spec.model.conditional:
        for split, images in (("training", data.train), ("validation", data.validation)):
            if images.labels is None or data.classes is None:
                message = f"the {split} images of '{data.name}' have no labels"
                raise spec.error(
                    "model.classes", message, hint="model.classes: false, or a labelled data set"
                )


def load_data(spec: Spec) -> Data:
    """Load the data set. Raises SpecError if it is missing or does not fit the spec's metrics and network."""
    with spec.blame("dataset"):
        data = spec.dataset.load(Path.cwd())
    check_data(spec, data)
    return data


def look(spec: Spec) -> Data:
    """The data set without loading it whole: a large one has images of the right shape, but no content."""
    with spec.blame("dataset"):
        return spec.dataset.look(Path.cwd())


def check_data(spec: Spec, data: Data) -> None:
    """Raises SpecError if the data do not fit the spec's metrics and network."""
    findings = Findings()
    for index, metric in enumerate(spec.evaluate.metrics):
        with findings.collect(), spec.blame(f"evaluate.metrics.{index}"):
            metric.check(data)
            metric.check_spec(spec)
    with findings.collect():
        check_labels(spec, data)
    findings.report()


def build(
    spec: Spec, device: torch.device, shape: Data | None = None, *, training: bool = False
) -> Experiment:
    """Load the data and build the network, whose initial weights are a function of `seed`.

    `shape` replaces the data if their images are not needed, so that they are not loaded. Raises SpecError if
    the spec is wrong, or if the network (with `training`: its training) does not fit into memory.
    """
    table = check(spec)
    with spec.blame("backend"), ops.use_backend(spec.backend):
        ops.active(device)  # raises SpecError if the backend does not run on the device
    data = load_data(spec) if shape is None else shape
    with spec.blame("model"):
        classes = [len(data.classes)] if spec.model.conditional and data.classes else []
        more = {"inputs": 2 * data.channels} if spec.model.self_conditioned else {}
        more |= {"outputs": 2 * data.channels} if spec.model.learns_variance else {}
        make: Callable[[], nn.Module] = partial(spec.model.build, data.channels, data.size, *classes, **more)
        check_memory(
            spec.model, make, tensors_per_weight(spec.train) if training and device.type == "cpu" else 1
        )
        torch.manual_seed(spec.seed)
        network = make()
    return Experiment(
        spec,
        data,
        table,
        spec.prediction,
        coefficients(formulation(spec), table, device),
        network.to(device),
        device,
    )


def formulation(spec: Spec) -> Formulation:
    """The choices of a spec, beside its schedule, that determine the coefficients of a training step."""
    model = spec.model
    return Formulation(
        spec.prediction, spec.loss.weighting, spec.time, model.time, learns_variance=model.learns_variance
    )


def tensors_per_weight(train: TrainSpec) -> int:
    """Least number of tensors per weight in training: weight, gradient, moving averages, Adam's two means."""
    averages = 0 if train.ema is None else len(train.ema.decays(1))
    return 2 + averages + 2 * isinstance(train.optimizer, Adam | AdamW)


def choose_device(name: str | None) -> torch.device:
    """The named device, or the fastest available one. Raises SpecError if it can't be used."""
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
