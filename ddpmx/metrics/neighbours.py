"""Nearest neighbours in feature space, chunk by chunk, for precision and recall."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 1000


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """|x_i − y_j|² in float64, [rows, m] for slices of the rows of x [n, d] against all of y [m, d]."""
    y = y.double()
    norms = y.square().sum(1)
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS].double()
        yield (
            slice(start, start + len(rows)),
            (rows.square().sum(1)[:, None] + norms - 2 * rows @ y.T).clamp_min(0),
        )


def nearest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances and indices [n, count] of each vector's nearest others, ascending."""
    found = []
    for rows, distances in squared_distances(x, x):
        distances[torch.arange(len(distances)), torch.arange(len(x))[rows]] = torch.inf
        found.append(distances.topk(count, dim=1, largest=False))
    return torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])


def inside(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """bool [n]: whether x_i lies in at least one ball with a centre [m, d] and a squared radius [m]."""
    return torch.cat([(distances <= radii).any(1) for _, distances in squared_distances(x, centres)])


def likeliest_balls(x: Tensor, centres: Tensor, radii: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances and indices [n, count] of the balls whose squared radius is the largest share of x_i's squared distance."""
    found = []
    for _, distances in squared_distances(x, centres):
        indices = (
            (distances / radii.clamp_min(1e-30)).topk(min(count, len(centres)), dim=1, largest=False).indices
        )
        found.append((distances.gather(1, indices), indices))
    return torch.cat([distances for distances, _ in found]), torch.cat([indices for _, indices in found])
