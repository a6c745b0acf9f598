"""The Fréchet distance of the pixels themselves."""

from __future__ import annotations

from ..components.registry import METRICS
from ..data import Data
from ..errors import SpecError
from .base import Metric, Reference, reference_images, reference_split
from .features import Pixels
from .frechet import frechet_score
from .score import Score
from .subject import Subject

MAX_PIXELS = 3 * 32 * 32
"""Largest number of values per image, which is the side of the covariance matrix."""


@METRICS.register(
    "pixel_fd",
    paper="Fréchet 1957, C. R. Acad. Sci. 244; Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X",
)
class PixelFd(Metric):
    """Fréchet distance to real images in raw 8-bit pixels, for images of up to 3×32×32; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over the c·h·w pixels. It measures brightness and second-order
    structure, not content, and needs neither labels nor a network.
    """

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        pixels = self.feature_dimension(data)
        if pixels > MAX_PIXELS:
            message = f"pixel_fd takes images of at most {MAX_PIXELS:,} values (3×32×32)"
            raise SpecError(f"{message}, and those of '{data.name}' have {pixels:,}", hint="fd_cnn")

    def feature_dimension(self, data: Data) -> int:
        return data.channels * data.size**2

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"pixel_fd": distance}`, for 2 images or more."""
        self.check(subject.data)
        return {"pixel_fd": frechet_score(subject, Pixels(), reference_split(subject.data, self.reference))}
