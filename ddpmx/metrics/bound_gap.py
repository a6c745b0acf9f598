"""How many more bits validation images need than training images: overfitting, in the bound's own units."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data, Images
from ..errors import SpecError
from ..theory.estimate import VarianceComponent, with_interval
from .bound import BoundMetric, Bounds, first
from .score import Score, variance_facts
from .subject import Subject

WORK = "bits of training and validation images"


@METRICS.register("bound_gap", paper="Ho et al. 2020, arXiv:2006.11239, eq. 5")
class BoundGap(BoundMetric):
    """Variational bound of validation images less that of training images, in bits per dimension.

    Positive: the network is overfitted; lower is better. The bound is that of `bpd`. A gap near 0 does not
    mean a good network: one that has learned nothing has none either.

    Image i of one split (bits v_i) and image i of the other (t_i) are independent, but share their timesteps
    and noise. The pairs are independent of each other, so the gap's variance is that of v_i − t_i, by n. That
    is s_v²/n + s_t²/n, as of two independent samples of images, less the noise that they share.
    """

    images: int | None = Field(1000, ge=2)
    """Number of images of each split, taken from its start, at most as many as the smaller one has; null: as
    many as that."""

    def check(self, data: Data) -> None:
        for split, images in (("training", data.train), ("validation", data.validation)):
            if len(images) < 2:
                message = f"the {split} split of '{data.name}' has a single image: at least 2 are needed"
                raise SpecError(message)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"bound_gap": difference}`.

        Raises SpecError if the schedule has no such chain, or a split has a single image.
        """
        data, experiment = subject.data, subject.experiment
        assert experiment is not None  # given to metrics that need no images
        self.check(data)
        n = min(len(data.train), len(data.validation), self.images or len(data.train))
        training = self._half(subject, first(data.train, n), 0)
        validation = self._half(subject, first(data.validation, n), 1)
        differences = validation.total - training.total
        variance = VarianceComponent(float(differences.var()) / n, n - 1)
        gap = with_interval(float(differences.mean()), (variance,))
        return {
            "bound_gap": Score(
                value=gap.value,
                better="lower",
                n=n,
                seed=subject.seed,
                split="validation",
                preprocessing=self.preprocessing(experiment),
                interval=gap.interval,
                interval_note="of two independent samples of images with shared noise",
                values=differences,
                values_of="images",
                facts={"training images": len(data.train), **variance_facts(training.variance_error)},
            )
        }

    def _half(self, subject: Subject, images: Images, done: int) -> Bounds:
        """The bounds of one split's images, the first or the second half of the work."""

        def progress(what: str, part: int, total: int) -> None:
            subject.progress(what, done * total + part, 2 * total)

        return self.bounds(replace(subject, progress=progress), images, WORK)
