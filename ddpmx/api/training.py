"""`ddpmx.train`: the training loop alone, without a folder, as an iterator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from .. import ops
from ..data import Data
from ..errors import SpecError
from ..runs.starting import load_initial_weights
from ..spec.schema import Spec
from ..spec.values import changes
from ..terminal.console import shown
from ..training.experiment import build, check_data, choose_device
from ..training.loop import EpochDone, Skipped, StepDone
from ..training.loop import train as training_loop
from ..training.state import TrainState, prepare
from ..world import World
from .data import data_of, shaped
from .specs import changed_spec, load_spec

TrainingEvent = StepDone | Skipped | EpochDone
"""A step with its loss, a step that was skipped, or the end of an epoch with its validation loss."""


class Training(Iterator[TrainingEvent]):
    """A training in progress: each `next` does one step, or validates at the end of an epoch."""

    def __init__(self, spec: Spec, device: str | None, data: Data | None = None) -> None:
        if spec.train.on_nan == "rollback":
            message = "rolling back needs the checkpoints of a run's folder"
            raise SpecError(message, field="train.on_nan", hint="use ddpmx.run, or set it to stop or skip")
        self.spec = spec
        with shown(None):  # a data set may have to be decoded first
            if data is not None:
                check_data(spec, data)
            experiment = build(spec, choose_device(device), data, training=True)
            load_initial_weights(experiment)
        self._trained, self._stopped = prepare(experiment), False
        self._events = training_loop(
            experiment, TrainState(), self._trained, World(), stop=lambda: self._stopped
        )

    @property
    def network(self) -> nn.Module:
        """The network that is being trained."""
        return self._trained.network

    @property
    def averaged(self) -> nn.Module:
        """The average of its weights, in evaluation mode; the network itself without `train.ema`."""
        return self._trained.averaged

    def stop(self) -> None:
        """End the iteration after the current step."""
        self._stopped = True

    def __next__(self) -> TrainingEvent:
        with ops.use_backend(self.spec.backend):
            return next(self._events)


def train(
    spec: str | Path | Mapping[str, object] | Spec,
    overrides: Mapping[str, object] | None = None,
    *,
    data: Data | Tensor | None = None,
    device: str | None = None,
) -> Training:
    """The training of a spec as an iterator over its events; nothing is written and nothing printed.

    Step events have `step`, `epoch`, `loss`, `lr` and `grad_norm`; the end of an epoch has `epoch`, `step`,
    `train_loss` and `val_loss`. The weights are those of `ddpmx.run`, bit for bit, at every step. The spec's
    blocks `evaluate` and `track` have no effect here. `data` replaces the spec's data set, as in `ddpmx.run`;
    `device` is by default the fastest.

    Raises SpecError for what the spec cannot do here, and RunError if the loss is not finite.
    """
    if data is None:
        return Training(load_spec(spec, overrides), device)
    given = data_of(data)
    return Training(changed_spec(spec, [*shaped(given), *changes(overrides or {})]), device, given)
