"""Editing options of `sample`: images to change or inpaint, or two seeds to interpolate between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import SpecError
from ..rows import Plan
from ..sampling.editing import SamplingInputs, interpolation
from .moments import Network
from .user_images import read_images, read_mask


@dataclass(frozen=True)
class Editing:
    """The options; without any, images start from noise."""

    image: Path | None = None
    """An image to change or inpaint, or a folder of them."""
    strength: float | None = None
    """How far to change the image, in (0, 1]. None: 1 with a mask, else 0.5."""
    mask: Path | None = None
    """An image: white areas are kept, black ones are filled in."""
    resample: int | None = None
    """How often each stretch of 10 steps is run. None: 10 with a mask, else 1."""
    to_seed: int | None = None
    """The seed of the last image; the other images interpolate between the two seeds."""

    def check(self) -> None:
        """Raise SpecError for options that need or exclude another one."""
        if self.image is None:
            for option, value in (
                ("--strength", self.strength),
                ("--mask", self.mask),
                ("--resample", self.resample),
            ):
                if value is not None:
                    raise SpecError("only applies with --image", field=option, hint="add --image FILE")
        elif self.to_seed is not None:
            raise SpecError(
                "cannot be combined with --image: it interpolates between the noise of two seeds",
                field="--to-seed",
            )

    @property
    def effective_strength(self) -> float:
        """The strength, or its default."""
        if self.strength is not None:
            return self.strength
        return 1.0 if self.mask is not None or self.image is None else 0.5

    def plan(self, network: Network) -> Plan:
        """The plan of the spec's sampler at the given strength, with resampling. Raises SpecError."""
        try:
            plan = network.plan(network.experiment.spec.sampler, self.effective_strength)
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
                "only applies to inpainting, with --mask",
                field="--resample",
                hint="add --mask FILE",
            )
        try:
            return plan.resampled(resample)
        except ValueError as error:
            hint = "use --sampler ddpm, or --resample 1"
            raise SpecError(str(error), field="--resample", hint=hint) from None

    def inputs(
        self, count: int, seed: int, shape: tuple[int, int, int], scale: float
    ) -> SamplingInputs | None:
        """The inputs of `count` images of `shape` [c, h, w]; None if they start from noise alone.

        `scale` is the plan's `init_scale`.
        """
        if self.to_seed is not None:
            return interpolation(seed, self.to_seed, count, shape, scale)
        if self.image is None:
            return None
        images = read_images(self.image, count, shape)
        if self.mask is None:
            return SamplingInputs(image=images)
        mask = read_mask(self.mask, shape).expand(count, -1, -1, -1)
        start = images if self.effective_strength < 1 else None
        return SamplingInputs(image=start, known=images, mask=mask)


FROM_NOISE = Editing()
"""No editing: images start from noise."""
