"""The typed spec: every field of the YAML file, its type, range, default and one line of help.

`loading.py` reads it from files, with `extends`, overrides and plugins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from ..components.registry import (
    DATASETS,
    MAX_NAME,
    METRICS,
    MODELS,
    NAME,
    OPTIMIZERS,
    PREDICTIONS,
    SAMPLERS,
    SCHEDULES,
    TIMES,
    TRACKERS,
    WEIGHTINGS,
)
from ..components.slot import Slot, default_component
from ..components.strict import Strict
from ..errors import SpecError
from .slots import Dataset, Metric, Model, Optimizer, Prediction, Sampler, Schedule, Time, Tracker, Weighting
from .yaml_source import KeyPath, Source

DDPM = {"name": "ddpm", "variance": "posterior"}
MAX_WEIGHT = 1e6  # of guidance


class EmaSpec(Strict):
    """The exponential moving average of the weights."""

    decay: float = Field(0.9999, ge=0, lt=1)
    """How much of the average stays at each step."""
    warmup: bool = True
    """Start with a short average: decay at step k is min(decay, (1 + k)/(10 + k))."""


class TrainSpec(Strict):
    """How long and how the network is trained."""

    epochs: int | None = Field(None, ge=1, le=1_000_000)
    """Passes over the training images; 100 where neither epochs nor steps is given."""
    steps: int | None = Field(None, ge=1, le=16_000_000)
    """Optimizer steps; with both given, whichever ends first."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Images a step, over all processes and accumulated parts."""
    accumulate: int = Field(1, ge=1, le=100_000)
    """Parts in which a process computes its share of a batch, to save memory."""
    optimizer: Annotated[Optimizer, Slot(OPTIMIZERS, {"name": "adam"})] = default_component({"name": "adam"})
    lr: float = Field(3e-4, gt=0, le=1e6)
    """Peak learning rate."""
    warmup_steps: int = Field(0, ge=0, le=16_000_000)
    """Steps of linear growth of the learning rate from 0."""
    lr_schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rate goes on after the warm-up; cosine and linear end at 0."""
    weight_decay: float = Field(0.0, ge=0, le=1e6)
    grad_clip: float | None = Field(1.0, gt=0, le=1e9)
    """Largest norm of the gradient over all weights; null for none."""
    ema: EmaSpec | None = EmaSpec()
    """Validation, samples and metrics use the averaged weights; null for the plain ones."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """The network's arithmetic; weights and the optimizer stay float32."""
    compile: bool = False
    """Run the network through torch.compile."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a new lowest validation loss; null for never."""
    on_nan: Literal["stop", "skip", "rollback"] = "stop"
    """What a step does whose loss or gradient is not finite, besides saying so: end the run; leave its batch out, at most 10 in a row;
    or go back to the last checkpoint with half the learning rate, at most 3 times. None lets it reach the weights."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between the checkpoints that stay; `last` and `best` are written each epoch whatever this is."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Steps between further checkpoints within an epoch, so that a kill loses no more than these; null for none. `last` is the newest of
    all, and they count among `keep_last`."""
    keep_last: int = Field(2, ge=1)
    """How many checkpoints stay, besides `best`."""
    keep_every: int | None = Field(None, ge=1)
    """Also keep each checkpoint whose epoch is a multiple of this."""
    init_from: str | None = None
    """A run folder or a safetensors file whose (averaged) weights training starts from."""
    label_dropout: float | None = Field(None, ge=0, lt=1)
    """Share of the images whose class a training step hides; null for 0.1 with model.classes (else there is none to hide)."""


class LossSpec(Strict):
    """The objective: weight · mean of norm(output − target)."""

    norm: Literal["l1", "l2", "huber"] = "l2"
    delta: float = Field(1.0, gt=0, le=1e6)
    """Where `huber` turns from quadratic to linear."""
    weighting: Annotated[Weighting, Slot(WEIGHTINGS)] = default_component({"name": "constant"})
    variance_weight: float = Field(0.001, ge=0, le=1e6)
    """How much the variational bound, in bits a dimension, counts beside it where the network learns the variance."""

    @model_validator(mode="after")
    def _delta_is_hubers(self) -> LossSpec:
        if self.norm != "huber" and "delta" in self.model_fields_set and self.delta != 1.0:
            raise ValueError("delta belongs to the norm huber")
        return self


class GuidanceSpec(Strict):
    """How strongly images are drawn towards their class: output = uncond + weight·(cond − uncond)."""

    weight: float = Field(1.0, ge=0, le=MAX_WEIGHT)
    """1: the network's conditional output as it is; 0: as if there were no class. Others cost two evaluations a step."""
    rescale: float = Field(0.0, ge=0, le=1)
    """Share by which each guided output gets back the standard deviation of its conditional one."""
    interval: tuple[float, float] | None = None
    """[low, high] log-SNR: guide only where low ≤ log-SNR < high, elsewhere weight 1; null for everywhere."""

    @model_validator(mode="after")
    def _interval_ascends(self) -> GuidanceSpec:
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError("interval should be [low, high] with low < high")
        return self


class EvaluateSpec(Strict):
    """What is measured while training, and from which samples."""

    every_epochs: int = Field(5, ge=1)
    """Epochs between evaluations of the metrics; there is one at the end in any case."""
    every_steps: int | None = Field(None, ge=1)
    """Steps between evaluations, also within an epoch, in place of `every_epochs`; null for that. One at the end in any case."""
    samples: int = Field(1000, ge=2, le=10_000_000)
    """Generated images that a metric sees."""
    sampler: Annotated[Sampler, Slot(SAMPLERS, {"name": "ddim"})] = default_component({"name": "ddim"})
    """Draws these images, and the grids while training."""
    metrics: tuple[Annotated[Metric, Slot(METRICS)], ...] = ()
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Of the starting noise: the same for every run, so that grids compare cell by cell."""
    batch_size: int = Field(128, ge=1)
    """Images sampled at a time; changes memory and speed, not the noise."""
    grid: int = Field(64, ge=0, le=1024)
    """Images in each grid that is drawn while training and at the end; 0 for no pictures at all."""
    grid_every: int | None = Field(None, ge=1)
    """Epochs between grids, or steps where `every_steps` is given. null: every epoch, but where epochs are so short that drawing would
    take more than a quarter of the training's work, only the first one and every few. The last epoch has one in any case."""


class Spec(Strict):
    """An experiment: everything that decides what a run computes."""

    name: str = Field(pattern=f"^{NAME}$", max_length=MAX_NAME)
    """Letters, digits, _ - . only; the folder of its runs."""
    plugins: tuple[str, ...] = ()
    """Python files (relative to this file) or modules that register more components."""
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Of the weights' start, the data order, flips, timesteps and noise."""
    dataset: Annotated[Dataset, Slot(DATASETS)]
    model: Annotated[Model, Slot(MODELS)]
    schedule: Annotated[Schedule, Slot(SCHEDULES)]
    prediction: Annotated[Prediction, Slot(PREDICTIONS)] = default_component("epsilon")
    """What the network's output means."""
    time: Annotated[Time, Slot(TIMES)] = default_component("uniform")
    """How training draws the timestep."""
    loss: LossSpec = LossSpec()
    sampler: Annotated[Sampler, Slot(SAMPLERS, DDPM)] = default_component(DDPM)
    """Draws the samples at the end of the run, and what `sample` draws unless told otherwise."""
    guidance: GuidanceSpec = GuidanceSpec()
    """Of all images that a network with model.classes draws."""
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    track: tuple[Annotated[Tracker, Slot(TRACKERS)], ...] = ()
    """Trackers that mirror the run's metrics.jsonl."""
    backend: Literal["auto", "reference", "cpp", "cuda"] = "auto"
    """Which kernels run the hot math; auto: the fastest that is built for the device."""

    _source: Source = PrivateAttr(default_factory=Source)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading the files left out: inherited keys that a block's new component does not have."""
        return self._notes

    @model_validator(mode="after")
    def _default_steps_fit(self) -> Spec:
        """Give samplers whose `steps` is a default as many as the schedule has room for, so that `resolved` says how many."""
        timesteps = self.schedule.timesteps
        object.__setattr__(self, "sampler", self.sampler.fitted(timesteps))
        drawn = self.evaluate.sampler.fitted(timesteps)
        if drawn is not self.evaluate.sampler:
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"sampler": drawn}))
        return self

    @contextmanager
    def blame(self, field: str, *instead: str) -> Iterator[None]:
        """Give a SpecError that is raised inside the place of `field` in the files.

        Where it is written nowhere, being a default, the error is placed at the first field of `instead` that is.
        """
        try:
            yield
        except SpecError as error:
            written = (other for other in (field, *instead) if tuple(other.split(".")) in self._source.marks)
            place = next(written, field)
            raise error.each(lambda finding: self._placed(finding, place, place == field)) from None

    def error(self, field: str, message: str, *, hint: str = "") -> SpecError:
        """The error to raise for the value of `field`, placed where that is written in the files."""
        return self._placed(SpecError(message, hint=hint), field, own=True)

    def _placed(self, finding: SpecError, field: str, own: bool) -> SpecError:
        if not own:
            mark = self._source.mark(tuple(field.split(".")))
            return SpecError(
                finding.message,
                field=field,
                mark=finding.mark or mark,
                hint=finding.hint,
                trace=finding.trace,
            )
        path: KeyPath = tuple(
            int(key) if key.isdecimal() else key
            for key in [*field.split("."), *finding.field.split(".")]
            if key
        )
        return finding.at(field, self._source.mark(path))

    def resolved(self) -> dict[str, object]:
        """All fields, defaults included, as JSON types: the spec that gives this run again."""
        return self.model_dump(mode="json")


def difference(a: object, b: object, path: KeyPath = ()) -> list[str]:
    """The dotted paths at which two resolved specs differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return [found for key in keys for found in difference(a.get(key), b.get(key), (*path, key))]
    return [] if a == b else [".".join(map(str, path))]


def json_schema() -> dict[str, object]:
    """The JSON Schema of a spec file, with every registered component; editors complete from it."""
    schema = Spec.model_json_schema()
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    schema["properties"]["extends"] = {
        **names,
        "description": "Spec files that this one changes, relative to it; deep-merged in order.",
    }
    values = {"type": "array", "minItems": 1}
    schema["properties"]["sweep"] = {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "zip": {
                "type": "object",
                "additionalProperties": values,
                "description": "Lists of one length, walked together.",
            },
            "points": {
                **values,
                "items": {"type": "object", "required": ["name"]},
                "description": "Named overrides.",
            },
        },
        "additionalProperties": values,
        "description": "Dotted fields and the values that `ddpmx sweep` runs, each with every other.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ddpmx spec", **schema}
