"""UniPC (Zhao et al. 2023, arXiv:2302.04867): a predictor and a corrector that share one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .base import Solver
from .dpmpp_multistep import data_row, second_order
from .integrals import exponential_moments, lagrange
from .path import Path, Point


def _weights(start: Point, end: Point, nodes: Sequence[Point]) -> list[float]:
    """Weights of x_0 at the nodes: the polynomial through these values, integrated from `start` to `end`."""
    h = end.half_log_snr - start.half_log_snr
    return lagrange(
        [(point.half_log_snr - start.half_log_snr) / h for point in nodes], exponential_moments(h, len(nodes))
    )


@SAMPLERS.register(
    "unipc", paper="Zhao et al. 2023, arXiv:2302.04867, for data prediction, with B(h) = e^h − 1 (bh2)"
)
class UniPC(Solver):
    """Predicts from past x_0 (UniP), then corrects with the x_0 at the step's end (UniC), at no extra cost.

    A row corrects the x that the row before predicted, and predicts the next x from it. Both are linear: the
    corrected x is the predicted x, minus the predictor's weighted sum of x_0, plus the corrector's. Order 1,
    and the predictor of order 2, use the paper's short forms.
    """

    order: int = Field(2, ge=1, le=3)
    """p: the predictor interpolates p values of x_0 and the corrector p + 1; fewer in the first and last
    steps."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        past = path.before(i, self.order)
        predictor = self._predictor(path, i)
        row = data_row(here, there, predictor)
        if not past:
            yield row
            return
        predictor_before = self._predictor(path, i - 1)
        order = len(predictor_before)
        gain = second_order(past[0], here, [], 0.0)[0]
        corrector = [gain / 2, gain / 2] if order == 1 else _weights(past[0], here, [here, *past[:order]])
        correction = [
            corrector[0],
            *(new - old for new, old in zip(corrector[1:], predictor_before, strict=True)),
        ]
        corrected = [row.c_x * here.signal * c for c in correction]
        predicted = [row.c_x0, *row.c_history]
        c_x0, *older = [a + b for a, b in zip_longest(corrected, predicted, fillvalue=0.0)]
        yield replace(row, c_x0=c_x0, c_history=tuple(older))

    def _predictor(self, path: Path, i: int) -> list[float]:
        here, there = path[i], path[i + 1]
        past = path.before(i, min(self.order, len(path) - i) - 1)
        return second_order(here, there, past, 0.0) if len(past) < 2 else _weights(here, there, [here, *past])
