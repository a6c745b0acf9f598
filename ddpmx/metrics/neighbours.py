"""Nearest neighbours in feature space for precision and recall, computed in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 1000
"""Rows of a distance matrix in memory at a time."""


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """|x_i − y_j|² for slices of the rows of x [n, d] against all of y [m, d]: (slice, float64 [rows, m])."""
    y = y.double()
    norms = y.square().sum(1)
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS].double()
        # |x|² + |y|² − 2 x·y
        squared = rows.square().sum(1)[:, None] + norms - 2 * rows @ y.T
        yield slice(start, start + len(rows)), squared.clamp_min(0)


def nearest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Each vector's nearest others: squared distances, ascending, and indices, [n, count] each."""
    chunks = []
    for rows, distances in squared_distances(x, x):
        distances[torch.arange(len(distances)), torch.arange(len(x))[rows]] = torch.inf
        chunks.append(distances.topk(count, dim=1, largest=False))
    return torch.cat([values for values, _ in chunks]), torch.cat([indices for _, indices in chunks])


def inside(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Whether each x_i lies in any ball with a centre [m, d] and a squared radius [m]: bool [n]."""
    return torch.cat([(distances <= radii).any(1) for _, distances in squared_distances(x, centres)])


def likeliest_balls(x: Tensor, centres: Tensor, radii: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances and indices [n, count] of the balls likeliest to contain each x_i.

    These have the smallest ratio of the squared distance to the squared radius.
    """
    chunks = []
    for _, distances in squared_distances(x, centres):
        ratio = distances / radii.clamp_min(1e-30)
        indices = ratio.topk(min(count, len(centres)), dim=1, largest=False).indices
        chunks.append((distances.gather(1, indices), indices))
    return torch.cat([distances for distances, _ in chunks]), torch.cat([indices for _, indices in chunks])
