"""The Fréchet distance without a network."""

from __future__ import annotations

from ..components.registry import METRICS
from ..data import Data
from ..errors import SpecError
from .base import Metric, Reference, reference_images, reference_split
from .features import Pixels
from .frechet import frechet_score
from .score import Score
from .subject import Subject

LARGEST = 3 * 32 * 32


@METRICS.register(
    "pixel_fd",
    paper="Fréchet 1957, C. R. Acad. Sci. 244; Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X",
)
class PixelFd(Metric):
    """Fréchet distance to real images of the 8-bit pixels themselves, up to 3×32×32; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over the c·h·w pixels: brightness and second-order structure, no content. Needs no
    labels and no network.
    """

    reference: Reference = None
    """The real images to compare with; null: the test split where there is one, else the training images."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        pixels = data.channels * data.size**2
        if pixels > LARGEST:
            raise SpecError(
                f"'{data.name}' has {pixels:,} values an image: pixel_fd is for {LARGEST:,} (3×32×32) at most",
                hint="fd_cnn",
            )

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"pixel_fd": distance}`, from 2 images on."""
        self.check(subject.data)
        return {"pixel_fd": frechet_score(subject, Pixels(), reference_split(subject.data, self.reference))}
