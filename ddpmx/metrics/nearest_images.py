"""The two nearest training images of each image in pixels: exact, and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

ROWS, BLOCK = 1024, 8192
"""Images, and training images, in a matrix of distances at a time."""
CANDIDATES = 8
"""Training images that are nearest in float32, whose distances are computed exactly."""
Done = Callable[[int, int], None]
"""Called with (images done, all images)."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The two nearest training images of each of n images."""

    distances: Tensor
    """Euclidean distances of 8-bit pixels, ascending: float64 [n, 2]."""
    indices: Tensor
    """Which training images these are: int64 [n, 2]."""


def different(pixels: Tensor, flip: bool) -> Tensor:
    """Indices of the images, uint8 [n, c, h, w], that do not equal an earlier one: int64, ascending.

    With `flip`, an image also equals its mirror image.
    """
    first: dict[bytes, int] = {}
    for index, image in enumerate(pixels):
        forms = [image, image.flip(-1)] if flip else [image]
        content = min(form.contiguous().numpy().tobytes() for form in forms)
        first.setdefault(blake2b(content, digest_size=16).digest(), index)
    return torch.tensor([*first.values()])


def two_nearest(
    images: Tensor, training: Tensor, flip: bool, done: Done = lambda count, total: None
) -> Nearest:
    """The two nearest of the training images, uint8 [N, c, h, w] with N ≥ 2, to each image [n, c, h, w].

    With `flip`, the distance to a training image is that to it or to its mirror image, whichever is nearer.
    """
    distances, indices = [], []
    for rows in images.split(ROWS):
        squared, nearest = _two_nearest(
            [_values(form, torch.float64) for form in ([rows, rows.flip(-1)] if flip else [rows])], training
        )
        distances.append(squared.sqrt())
        indices.append(nearest)
        done(sum(map(len, indices)), len(images))
    return Nearest(torch.cat(distances), torch.cat(indices))


def _two_nearest(forms: Sequence[Tensor], training: Tensor) -> tuple[Tensor, Tensor]:
    """The two smallest squared distances, and their indices, for images in one or both `forms` [n, d].

    Pixels are whole numbers, so float64 is exact. Candidates are found in float32; where rounding errors may
    have kept one of the two nearest from being a candidate, all is computed in float64.
    """
    least, candidates = _least(forms, training, torch.float32, CANDIDATES)
    exact = torch.stack(
        [_squared(forms, _values(training[column], torch.float64)) for column in candidates.T], 1
    )
    squared, order = exact.topk(2, largest=False)
    indices = candidates.gather(1, order)
    norms = forms[0].square().sum(1)
    if len(training) > CANDIDATES:
        uncertain = least[:, -1].double() - _rounding(forms[0].shape[1]) <= squared[:, 1] - norms
        if bool(uncertain.any()):
            again = [form[uncertain] for form in forms]
            values, indices[uncertain] = _least(again, training, torch.float64, 2)
            squared[uncertain] = values + norms[uncertain, None]
    return squared, indices


def _least(
    forms: Sequence[Tensor], training: Tensor, dtype: torch.dtype, count: int
) -> tuple[Tensor, Tensor]:
    """The `count` smallest |y|² − 2 x·y over training images y, ascending, and their indices: [n, count]."""
    values = forms[0].new_empty(len(forms[0]), 0, dtype=dtype)
    indices = values.long()
    for start in range(0, len(training), BLOCK):
        y = _values(training[start : start + BLOCK], dtype)
        norms = y.square().sum(1, dtype=torch.float64).to(dtype)
        # |x − y|² − |x|²
        each = torch.stack([norms - 2 * form.to(dtype) @ y.T for form in forms]).amin(0)
        near = each.topk(min(count, len(y)), largest=False)
        values = torch.cat((values, near.values), 1)
        indices = torch.cat((indices, near.indices + start), 1)
        values, order = values.topk(min(count, values.shape[1]), largest=False)
        indices = indices.gather(1, order)
    return values, indices


def _values(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels [n, c, h, w] as whole numbers in −128…127, [n, c·h·w]."""
    return pixels.flatten(1).to(dtype) - 128


def _squared(forms: Sequence[Tensor], y: Tensor) -> Tensor:
    """|x − y|² for the nearer of the forms of each x, [n]."""
    return torch.stack([(form - y).square().sum(1) for form in forms]).amin(0)


def _rounding(d: int) -> float:
    """A bound on the rounding error of |y|² − 2 x·y in float32, for d values in ±128.

    2γ|x||y| for the dot product with γ = d·2⁻²⁴ (Higham 2002, eq. 3.5), and 2⁻²⁴ of each of |y|² and the
    difference; |x| and |y| are at most 128√d.
    """
    return (2 * d + 4) * 2.0**-24 * 128**2 * d
