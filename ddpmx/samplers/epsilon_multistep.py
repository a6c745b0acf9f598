"""Multistep methods that use past values of ε: DEIS, LMS and iPNDM.

With n = sigma/signal and y = x/signal the probability-flow ODE is dy/dn = ε, and therefore::

    y_s = y_t + ∫ ε dn from n_t to n_s

The methods differ in the polynomial that approximates ε.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .base import Solver
from .integrals import exponential_moments, lagrange
from .path import Path, Point


def epsilon_row(here: Point, signal: float, weights: Sequence[float]) -> Row:
    """The row of y_s = y_t + Σ_j weights[j]·ε_j, newest first, where `signal` is that of s.

    It pushes ε_0 = (x − signal_t·x_0)/sigma_t onto the history.
    """
    newest, *older = weights
    return Row(
        here.t,
        here.x0_from_x,
        here.x0_from_output,
        c_x=signal * (1 / here.signal + newest / here.sigma),
        c_x0=-signal * newest / here.sigma_ve,
        c_history=tuple(signal * weight for weight in older),
        m_x=1 / here.sigma,
        m_x0=-1 / here.sigma_ve,
    )


@SAMPLERS.register("deis", paper="Zhang & Chen 2022, arXiv:2204.13902, tAB-DEIS in log ρ")
class DEIS(Solver):
    """ε as a polynomial in log n (n = sigma/signal), integrated exactly; the last step is of order 1."""

    order: int = Field(2, ge=1, le=4)
    """Number of values of ε that the polynomial interpolates; the first steps use fewer."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        here, there = path[i], path[i + 1]
        h = there.half_log_snr - here.half_log_snr
        # v = (λ − λ_t)/h with λ = log(signal/sigma), newest first
        nodes = [
            (point.half_log_snr - here.half_log_snr) / h for point in (here, *path.before(i, self.order - 1))
        ]
        weights = lagrange(nodes, exponential_moments(-h, len(nodes)))
        yield epsilon_row(here, there.signal, [there.sigma_ve * weight for weight in weights])


class Adams(Solver):
    """Base of the Adams–Bashforth methods in n, whose last step also integrates, to n = 0."""

    order: int = Field(4, ge=1, le=4)
    """Number of values of ε that the polynomial interpolates; the first steps use fewer."""

    def nodes(self, path: Path, i: int, width: float) -> list[float]:
        """The polynomial's nodes v = (n − n_t)/width for each ε, newest first; width = n_s − n_t."""
        raise NotImplementedError

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield self._row_to(path, i, path[i + 1].signal, path[i + 1].sigma_ve)

    def finish(self, path: Path) -> Row:
        last = len(path) - 1
        return self._row_to(path, last, 1.0, 0.0) if path[last].inside else super().finish(path)

    def _row_to(self, path: Path, i: int, signal: float, sigma_ve: float) -> Row:
        width = sigma_ve - path[i].sigma_ve  # n_s − n_t
        nodes = self.nodes(path, i, width)
        return epsilon_row(
            path[i],
            signal,
            [width * weight for weight in lagrange(nodes, [1 / (k + 1) for k in range(len(nodes))])],
        )


@SAMPLERS.register("lms", paper="Crowson 2022, k-diffusion; Liu et al. 2022, arXiv:2202.09778")
class LMS(Adams):
    """Linear multistep: integrates the polynomial in n = sigma/signal through past values of ε."""

    def nodes(self, path: Path, i: int, width: float) -> list[float]:
        return [
            (point.sigma_ve - path[i].sigma_ve) / width
            for point in (path[i], *path.before(i, self.order - 1))
        ]


@SAMPLERS.register("ipndm", paper="Zhang & Chen 2022, arXiv:2204.13902; Liu et al. 2022, arXiv:2202.09778")
class IPNDM(Adams):
    """Adams–Bashforth with the constant weights of an evenly spaced grid: (55, −59, 37, −9)/24 at order 4.

    It reaches its nominal order on grids that are even in n = sigma/signal, and at most order 2 on others.
    """

    def nodes(self, path: Path, i: int, width: float) -> list[float]:
        return [-float(k) for k in range(1 + len(path.before(i, self.order - 1)))]
