"""What a metric is: numbers about generated images, named by what they measure."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ..data import Data
from ..registry import Component


class Metric(Component):
    """Base of the metrics."""

    def check(self, data: Data) -> None:
        """Raises SpecError when the metric can't be taken of this data set; asked before a run begins."""

    @abstractmethod
    def compute(self, images: Tensor, data: Data) -> dict[str, float]:
        """Measures generated images (uint8 [n, c, h, w]) of a model of `data`; the keys start with the metric's name.

        Raises SpecError when the metric can't be taken of this data set or of so few images.
        """
