"""Minimal filtering in float64, with an estimate of its rounding error in float32, to test the kernel
against.

Each rounding of a float32 operation is modelled as an independent error of at most 2⁻²⁴ of its result, whose
mean square is a third of that squared. Variances are propagated through the algorithm to first order, so that
nothing depends on measurements on a particular processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDING = 2.0**-48 / 3
"""Variance of one rounding error, relative to the squared result."""
ROUNDING_BFLOAT16 = 2.0**-16 / 3
"""The same of a rounding to bfloat16."""
SIDE = 6
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""The points at which polynomials are evaluated; the sixth point is ∞."""
ROUNDINGS = 4
"""Most operations that follow each other in the transform of one side."""


@dataclass(frozen=True)
class Rounded:
    """Exact values, and the variance of their error in float32; both float64 and of the same shape."""

    value: Tensor
    variance: Tensor

    @classmethod
    def exact(cls, value: Tensor) -> Rounded:
        return cls(value.detach().double(), torch.zeros_like(value, dtype=torch.float64))

    def transformed(self, matrix: Tensor) -> Rounded:
        """matrix·X·matrixᵀ over the last two dimensions, one side after the other."""
        return self._side(matrix).transposed()._side(matrix).transposed()

    def stored(self, rounding: float) -> Rounded:
        """The values after one more rounding of this variance."""
        return Rounded(self.value, self.variance + rounding * self.value.square())

    def _side(self, matrix: Tensor) -> Rounded:
        squares = matrix.T.square()
        made = ROUNDINGS * ROUNDING * (self.value.square() @ squares)
        return Rounded(self.value @ matrix.T, self.variance @ squares + made)

    def transposed(self) -> Rounded:
        return Rounded(self.value.mT, self.variance.mT)

    def summed(self, other: Rounded, equation: str, terms: int) -> Rounded:
        """The einsum of two, a sum of that many products. In any order of addition, a partial sum has half of
        them on average."""
        a, b = self.value.square(), other.value.square()
        carried = torch.einsum(equation, self.variance, b) + torch.einsum(equation, a, other.variance)
        return Rounded(
            torch.einsum(equation, self.value, other.value),
            carried + (terms / 2 + 1) * ROUNDING * torch.einsum(equation, a, b),
        )


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """The matrices for one side of tiles [6, 6], weights [6, 3] and results [4, 6].

    If V has the values of all powers below 6 at the points, V⁻¹ interpolates a product of polynomials. The
    algorithm is the transpose of that product (Lavin & Gray 2016, arXiv:1509.09308, section 4).
    """
    powers = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(SIDE)
    values = torch.cat((powers, torch.eye(SIDE, dtype=torch.float64)[-1:]))
    weights, results = values[:, :3].clone(), values[:, :4].clone()
    weights[-1], results[-1] = torch.eye(3)[-1], torch.eye(4)[-1]
    products = torch.tensor(
        [torch.prod(torch.tensor([p - q for q in POINTS if q != p], dtype=torch.float64)) for p in POINTS]
        + [1.0]
    )
    return values.inverse().T * products[:, None], weights / products[:, None], results.T


def tiles(x: Tensor, side: int, margin: int) -> Tensor:
    """Squares of side `side`, four pixels apart, in images [n, c, h, w] padded with zeros.

    Returns [n, c, down, across, side, side].
    """
    height, width = (4 * -(-size // 4) + side - 4 for size in x.shape[2:])
    padded = F.pad(x, (margin, width - x.shape[3] - margin, margin, height - x.shape[2] - margin))
    return padded.unfold(2, side, 4).unfold(3, side, 4)


def untiled(squares: Tensor, shape: torch.Size) -> Tensor:
    """The images [n, c, height, width] that squares [n, c, down, across, 4, 4] cover."""
    return squares.transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :, : shape[2], : shape[3]]


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, at_points: float = 0.0) -> Rounded:
    """The result of `ops.conv3x3` for float32 tensors, by minimal filtering.

    `at_points` is the variance of one more rounding of all values at the points, here and below.
    """
    to_points, weight_to_points, from_points = transforms()
    inputs = Rounded.exact(tiles(x, SIDE, 1)).transformed(to_points).stored(at_points)
    weights = Rounded.exact(weight).transformed(weight_to_points).stored(at_points)
    products = inputs.summed(weights, "nctuij,ocij->notuij", x.shape[1]).transformed(from_points)
    value, variance = untiled(products.value, x.shape), untiled(products.variance, x.shape)
    if bias is None:
        return Rounded(value, variance)
    value = value + bias.double().view(-1, 1, 1)
    return Rounded(value, variance + ROUNDING * value.square())


def gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, at_points: float = 0.0
) -> tuple[Rounded, Rounded, Rounded]:
    """The gradients of x, weight and bias for a gradient of the result."""
    to_points, weight_to_points, from_points = transforms()
    inputs = Rounded.exact(tiles(x, SIDE, 1)).transformed(to_points).stored(at_points)
    of_results = Rounded.exact(tiles(gradient, 4, 0)).transformed(from_points.T).stored(at_points)
    count = inputs.value.shape[0] * inputs.value.shape[2] * inputs.value.shape[3]
    of_weight = inputs.summed(of_results, "nctuij,notuij->ocij", count).transformed(weight_to_points.T)
    pixels = gradient.double().transpose(0, 1).flatten(1)
    of_bias = Rounded(pixels.sum(1), (pixels.shape[1] / 2 + 1) * ROUNDING * pixels.square().sum(1))
    of_x = convolution(gradient, weight.flip(2, 3).transpose(0, 1), None, at_points)
    return of_x, of_weight, of_bias
