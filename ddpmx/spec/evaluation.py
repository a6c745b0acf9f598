"""The blocks of a spec that say how a trained network is measured: `guidance`, `evaluate` and `weights`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..components.registry import METRICS, SAMPLERS
from ..components.slot import Slot, default_component
from ..components.strict import Strict
from ..emas.profile import WIDEST
from ..text import shortened
from .slots import Metric, Sampler

MAX_WEIGHT = 1e6
"""Largest guidance weight."""
VARIED = ("evaluate.sampler", "evaluate.metrics", "evaluate.samples", "evaluate.seed", "guidance", "weights")
"""The fields, or blocks of fields, that a measurement of trained weights may change."""


class GuidanceSpec(Strict):
    """Classifier-free guidance towards an image's class: output = uncond + weight·(cond − uncond)."""

    weight: float = Field(1.0, ge=0, le=MAX_WEIGHT)
    """1 uses the conditional output alone and 0 the unconditional one. Any other weight evaluates the network
    twice per step."""
    rescale: float = Field(0.0, ge=0, le=1)
    """Degree to which the conditional output's standard deviation is restored: 0 not at all, 1 fully."""
    interval: tuple[float, float] | None = None
    """[low, high]: guide only where low ≤ log-SNR < high, elsewhere use weight 1; null to always guide."""

    @model_validator(mode="after")
    def _interval_ascends(self) -> GuidanceSpec:
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError("interval should be [low, high] with low < high")
        return self


class EvaluateSpec(Strict):
    """Evaluation during training: its metrics, their samples, and how often they are computed."""

    every_epochs: int = Field(5, ge=1)
    """Epochs between evaluations of the metrics. They are always evaluated at the end."""
    every_steps: int | None = Field(None, ge=1)
    """Steps between evaluations, within an epoch too; replaces `every_epochs`. null: use `every_epochs`."""
    samples: int = Field(1000, ge=2, le=10_000_000)
    """Images to generate for the metrics."""
    sampler: Annotated[Sampler, Slot(SAMPLERS, {"name": "ddim"})] = default_component({"name": "ddim"})
    """The sampler for metrics, and for grids during training; a block without `name` changes ddim."""
    metrics: tuple[Annotated[Metric, Slot(METRICS)], ...] = ()
    """The metrics to compute; by default none."""
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Seed of the starting noise. It does not depend on the run's own seed, so that the grids of two runs
    compare cell by cell."""
    batch_size: int = Field(128, ge=1)
    """Images to sample at a time. It affects memory and speed, not the noise."""
    grid: int = Field(64, ge=0, le=1024)
    """Images in each sample grid, during training and at the end; 0 for no grids."""
    grid_every: int | None = Field(None, ge=1)
    """Epochs between sample grids, or steps if `every_steps` is given. null: one after every epoch, or less
    often where epochs are so short that sampling would take more than a quarter of the training's work. The
    last epoch always has one."""
    over: dict[str, tuple[Any, ...]] = Field(default={})
    """Fields with lists of values: after training, every combination of them is measured too. Only what an
    evaluation may change: evaluate.sampler, .metrics, .samples and .seed, guidance, and weights."""

    @field_validator("over", mode="before")
    @classmethod
    def _lists_of_varied_fields(cls, over: object) -> object:
        if not isinstance(over, dict):
            raise ValueError("should map fields to lists of values, as in {weights.ema_std: [0, 0.05]}")
        for field, values in over.items():
            check_varied(str(field))
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"{field} should have a list of at least one value")
            if twice := [value for at, value in enumerate(values) if _is_in(value, values[:at])]:
                raise ValueError(f"{field} has the value {shortened(str(twice[0]))} twice")
        return {field: tuple(values) for field, values in over.items()}


class WeightsSpec(Strict):
    """Which of a run's weights are measured and sampled with."""

    checkpoint: Literal["best", "last"] | Annotated[int, Field(ge=1)] = "best"
    """The checkpoint: `best` (lowest validation loss), `last`, or the step of one that is kept."""
    ema_std: float | None = Field(None, ge=0, lt=WIDEST)
    """null: the average that the run keeps (train.ema). 0: the plain weights. Otherwise the relative width
    σ_rel of an average of the end of training, rebuilt from snapshots; `checkpoint` is then taken as
    `last`."""

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _name_or_step(cls, checkpoint: object) -> object:
        is_step = isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0
        if not is_step and checkpoint not in ("best", "last"):
            shown = shortened(str(checkpoint))
            raise ValueError(f"should be best, last, or the step of a checkpoint that is kept, not {shown}")
        return checkpoint

    @model_validator(mode="after")
    def _rebuilt_is_last(self) -> WeightsSpec:
        if self.ema_std:
            if isinstance(self.checkpoint, int):
                raise ValueError(
                    f"an average of width {self.ema_std:g} is always of the end of training:"
                    " leave out weights.checkpoint, or set ema_std to null or 0"
                )
            object.__setattr__(self, "checkpoint", "last")
        return self

    @property
    def is_own(self) -> bool:
        """Whether these are the weights that the run itself measures when its training ends."""
        return self.ema_std is None and not isinstance(self.checkpoint, int)


def check_varied(field: str) -> None:
    """Raise ValueError if a measurement of trained weights cannot change the field."""
    if not any(f"{field}.".startswith(f"{varied}.") for varied in VARIED):
        *most, last = VARIED
        hint = f"; samples for metrics come from evaluate.{field}" if field.startswith("sampler") else ""
        raise ValueError(f"{field} cannot vary in an evaluation: only {', '.join(most)} and {last} can{hint}")


def _is_in(value: object, others: Sequence[object]) -> bool:
    """Whether a value of a spec is among others; 1 and true are not the same."""
    return any(value == other and type(value) is type(other) for other in others)
