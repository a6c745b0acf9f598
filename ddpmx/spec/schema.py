"""The typed spec: every field of the YAML file with its type, range, default and help text.

`loading.py` reads a spec from files and handles `extends`, overrides and plugins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from ..components.registry import (
    DATASETS,
    EMAS,
    MAX_NAME,
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
from .claims import CLAIMS, claims_schema
from .evaluation import EvaluateSpec, GuidanceSpec, WeightsSpec
from .slots import Dataset, Ema, Model, Optimizer, Prediction, Sampler, Schedule, Time, Tracker, Weighting
from .source import KeyPath, Source

DDPM = {"name": "ddpm", "variance": "posterior"}
"""The default of `sampler`, as a spec would write it."""


class TrainSpec(Strict):
    """The training of the network: its length, batches, optimizer and checkpoints."""

    epochs: int | None = Field(None, ge=1, le=1_000_000)
    """Passes over the training images. Without `epochs` and `steps`, 100."""
    steps: int | None = Field(None, ge=1, le=16_000_000)
    """Optimizer steps. If `epochs` is given too, training ends at whichever comes first."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Images per optimizer step, summed over all processes and all accumulated parts."""
    accumulate: int = Field(1, ge=1, le=100_000)
    """Number of parts into which each process splits its share of a batch. More parts need less memory."""
    optimizer: Annotated[Optimizer, Slot(OPTIMIZERS, {"name": "adam"})] = default_component({"name": "adam"})
    """The optimizer; a block without `name` changes adam."""
    lr: float = Field(3e-4, gt=0, le=1e6)
    """Peak learning rate."""
    warmup_steps: int = Field(0, ge=0, le=16_000_000)
    """Steps over which the learning rate rises linearly from 0 to `lr`."""
    lr_schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate after the warm-up; `cosine` and `linear` decay to 0 at the end of training."""
    weight_decay: float = Field(0.0, ge=0, le=1e6)
    """Weight decay, as the optimizer defines it."""
    grad_clip: float | None = Field(1.0, gt=0, le=1e9)
    """Largest norm of the gradient over all weights; null to leave gradients unclipped."""
    ema: Annotated[Ema | None, Slot(EMAS, {"name": "constant"})] = default_component("constant")
    """Moving average (EMA) of the weights, which validation, samples and metrics use; null to use the weights
    themselves. A block without `name` changes constant."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic. The weights and the optimizer's state are always float32."""
    compile: bool = False
    """Run the network through torch.compile."""
    patience: int | None = Field(None, ge=1)
    """Stop training after this many epochs without a new lowest validation loss; null to never stop early."""
    on_nan: Literal["stop", "skip", "rollback"] = "stop"
    """Response to a step whose loss or gradient is not finite. `stop` ends the run. `skip` skips the batch,
    at most 10 batches in a row. `rollback` goes back to the last checkpoint and halves the learning rate, at
    most 3 times. The step is always reported and never changes the weights."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between the checkpoints that are kept; `last` and `best` are updated after every epoch."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Steps between additional checkpoints within an epoch, so that a killed run loses at most this many
    steps; null for none. They count towards `keep_last`, and `last` names the newest checkpoint of either
    kind."""
    keep_last: int = Field(2, ge=1)
    """Number of recent checkpoints to keep, in addition to `best`."""
    keep_every: int | None = Field(None, ge=1)
    """Also keep every checkpoint whose epoch is a multiple of this; null for none."""
    init_from: str | None = None
    """Run folder or safetensors file with the initial weights (a run's averaged ones, if it has them)."""
    label_dropout: float | None = Field(None, ge=0, lt=1)
    """Fraction of the images in a training step that are shown to the network without their class. Only for
    networks with model.classes, where null means 0.1."""


class LossSpec(Strict):
    """The objective: weight · mean of norm(output − target)."""

    norm: Literal["l1", "l2", "huber"] = "l2"
    """The norm of the error: absolute, squared, or Huber's."""
    delta: float = Field(1.0, gt=0, le=1e6)
    """Error at which `huber` changes from quadratic to linear."""
    weighting: Annotated[Weighting, Slot(WEIGHTINGS)] = default_component({"name": "constant"})
    """The weight at each noise level."""
    variance_weight: float = Field(0.001, ge=0, le=1e6)
    """Factor of the variational bound, in bits per dimension, in the loss of a network that learns the
    variance (model.learned_variance)."""

    @model_validator(mode="after")
    def _delta_is_hubers(self) -> LossSpec:
        if self.norm != "huber" and "delta" in self.model_fields_set and self.delta != 1.0:
            raise ValueError("delta is only for the norm huber: set loss.norm to huber, or leave delta out")
        return self


class Spec(Strict):
    """An experiment: everything that determines what a run computes."""

    name: str = Field(pattern=f"^{NAME}$", max_length=MAX_NAME)
    """Name of the experiment and of the folder for its runs: letters, digits, `_`, `-` and `.` only."""
    plugins: tuple[str, ...] = ()
    """Python files (paths relative to this file) or installed modules that register more components."""
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    """Seed of the initial weights, the order of the data, flips, timesteps and noise."""
    dataset: Annotated[Dataset, Slot(DATASETS)]
    """The images to train on."""
    model: Annotated[Model, Slot(MODELS)]
    """The network."""
    schedule: Annotated[Schedule, Slot(SCHEDULES)]
    """The noise schedule: how much signal and noise x_t has at each timestep."""
    prediction: Annotated[Prediction, Slot(PREDICTIONS)] = default_component("epsilon")
    """The quantity that the network predicts."""
    time: Annotated[Time, Slot(TIMES)] = default_component("uniform")
    """The distribution from which training draws timesteps."""
    loss: LossSpec = LossSpec()
    """The training objective."""
    sampler: Annotated[Sampler, Slot(SAMPLERS, DDPM)] = default_component(DDPM)
    """The sampler for the samples at the end of the run, and the default of `ddpmx sample`."""
    guidance: GuidanceSpec = GuidanceSpec()
    """Classifier-free guidance whenever images are sampled; needs a network with model.classes."""
    train: TrainSpec = TrainSpec()
    """The training of the network: its length, batches, optimizer and checkpoints."""
    evaluate: EvaluateSpec = EvaluateSpec()
    """Evaluation during training: its metrics, their samples, and how often they are computed."""
    weights: WeightsSpec = WeightsSpec()
    """The weights that the run is measured and sampled with after training."""
    track: tuple[Annotated[Tracker, Slot(TRACKERS)], ...] = ()
    """Trackers that receive a copy of the run's metrics."""
    backend: Literal["auto", "reference", "cpp", "cuda"] = "auto"
    """Implementation of the numerical kernels; `auto` uses the fastest one that is built for the device."""

    _source: Source = PrivateAttr(default_factory=Source)
    """The merged data that this spec was made from, with the position of each value."""
    _notes: tuple[str, ...] = PrivateAttr(default=())
    """See `notes`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for each block whose new component lacks inherited keys, which were left out."""
        return self._notes

    @model_validator(mode="after")
    def _default_steps_fit(self) -> Spec:
        """Reduce a sampler's default `steps` to what the schedule allows; `resolved` then has that number."""
        timesteps = self.schedule.timesteps
        object.__setattr__(self, "sampler", self.sampler.fitted(timesteps))
        fitted = self.evaluate.sampler.fitted(timesteps)
        if fitted is not self.evaluate.sampler:
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"sampler": fitted}))
        return self

    @contextmanager
    def blame(self, field: str, *fallbacks: str) -> Iterator[None]:
        """Context that points any SpecError raised inside at the line where `field` is written.

        If the files do not set `field`, the error points at the first of the `fallbacks` that they do set.
        """
        try:
            yield
        except SpecError as error:
            written = (
                other for other in (field, *fallbacks) if tuple(other.split(".")) in self._source.marks
            )
            blamed = next(written, field)
            raise error.each(lambda finding: self._placed(finding, blamed, blamed == field)) from None

    def error(self, field: str, message: str, *, hint: str = "") -> SpecError:
        """The SpecError to raise for the value of `field`, with the line where that is written."""
        return self._placed(SpecError(message, hint=hint), field, is_own=True)

    def _placed(self, finding: SpecError, field: str, is_own: bool) -> SpecError:
        """The finding at the line of `field`; with `is_own`, its own field is kept as a part of that one."""
        if not is_own:
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
        """All fields, defaults included, as JSON types. Loading them as a spec gives the same run again."""
        return self.model_dump(mode="json")


def difference(a: object, b: object, path: KeyPath = ()) -> list[str]:
    """The dotted paths at which two resolved specs differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return [dotted for key in keys for dotted in difference(a.get(key), b.get(key), (*path, key))]
    return [] if a == b else [".".join(map(str, path))]


def json_schema() -> dict[str, object]:
    """The JSON Schema of a spec file, with every registered component, for completion in editors."""
    schema = Spec.model_json_schema()
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    schema["properties"]["extends"] = {
        **names,
        "description": "Spec files, relative to this one, merged in order; this file overrides them.",
    }
    values = {"type": "array", "minItems": 1}
    schema["properties"]["sweep"] = {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "zip": {
                "type": "object",
                "additionalProperties": values,
                "description": "Fields with lists of equal length, whose values change together.",
            },
            "points": {
                **values,
                "items": {"type": "object", "required": ["name"]},
                "description": "Named points, each with the fields that it changes.",
            },
        },
        "additionalProperties": values,
        "description": "Dotted fields with lists of values. `ddpmx sweep` runs every combination of them.",
    }
    schema["properties"][CLAIMS] = claims_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ddpmx spec", **schema}
