"""What `sample` starts from besides noise: a user's pictures to change or complete, or the way from one seed to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import SpecError
from ..rows import Plan
from ..sampling.editing import SamplingInputs, interpolation
from ..training.experiment import Experiment
from .user_images import read_mask, read_pictures


@dataclass(frozen=True)
class Editing:
    """Options of `sample`; without any, images start from noise."""

    image: Path | None = None
    """A picture or a folder of them, to be changed or completed."""
    strength: float | None = None
    """How much of the picture is drawn anew, in (0, 1]; None: 1 with a mask, else 0.5."""
    mask: Path | None = None
    """White: as in the picture, black: to be drawn."""
    resample: int | None = None
    """How often each stretch of steps is run; None: 10 with a mask, else 1."""
    to_seed: int | None = None
    """The seed of the last image; the others lie between."""

    def check(self) -> None:
        """Raises SpecError for options that need another one or exclude each other."""
        if self.image is None:
            for option, value in (
                ("--strength", self.strength),
                ("--mask", self.mask),
                ("--resample", self.resample),
            ):
                if value is not None:
                    raise SpecError(
                        "is for changing a picture, and none is given", field=option, hint="--image FILE"
                    )
        elif self.to_seed is not None:
            raise SpecError("goes from noise to noise, not from a picture", field="--to-seed")

    @property
    def share(self) -> float:
        """The strength, or its default."""
        if self.strength is not None:
            return self.strength
        return 1.0 if self.mask is not None or self.image is None else 0.5

    def plan(self, experiment: Experiment) -> Plan:
        """The spec's sampler over the strength's share of its steps, resampled where that is asked for."""
        try:
            plan = experiment.spec.sampler.plan(experiment.table, experiment.prediction, strength=self.share)
        except SpecError as error:
            raise (
                SpecError(error.message, field="--strength", hint=error.hint)
                if error.field == "strength"
                else error
            ) from None
        masked = self.mask is not None
        resample = (10 if masked else 1) if self.resample is None else self.resample
        if resample == 1:
            return plan
        if not masked:
            raise SpecError(
                "is for completing a picture, and no mask says what is known",
                field="--resample",
                hint="--mask FILE",
            )
        try:
            return plan.resampled(resample)
        except ValueError as error:
            raise SpecError(str(error), field="--resample", hint="--sampler ddpm, or --resample 1") from None

    def given(
        self, count: int, seed: int, shape: tuple[int, int, int], scale: float
    ) -> SamplingInputs | None:
        """What `count` images of `shape` [c, h, w] start from; None: noise alone. `scale` is the plan's `init_scale`."""
        if self.to_seed is not None:
            return interpolation(seed, self.to_seed, count, shape, scale)
        if self.image is None:
            return None
        pictures = read_pictures(self.image, count, shape)
        if self.mask is None:
            return SamplingInputs(image=pictures)
        mask = read_mask(self.mask, shape).expand(count, -1, -1, -1)
        return SamplingInputs(image=pictures if self.share < 1 else None, known=pictures, mask=mask)


FROM_NOISE = Editing()
