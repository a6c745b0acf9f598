"""The inception score's formula, for any classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from .features import Extractor
from .halves import COUNT, halves, interval, real_subset
from .score import Score
from .subject import Subject

SHUFFLE_SEED = 2020
"""torch-fidelity's seed, which gives the same parts."""


def inception_score(
    subject: Subject, extractor: Extractor, logits: Callable[[Tensor], Tensor], splits: int
) -> Score:
    """The mean over `splits` parts of the images of exp(mean KL(p(y|x) ‖ p(y))).

    `logits` maps features [n, d] to [n, classes]. The floor is the score of real images from the test split,
    or the validation split if there is none. Raises SpecError if a part has fewer than 2 images. Salimans et
    al. 2016, arXiv:1606.03498, section 4.
    """
    features = subject.features(extractor)
    n = len(features)
    if n < 2 * splits:
        message = f"needs at least {2 * splits} generated images, 2 per part, not {n}"
        raise SpecError(message, field="splits", hint="evaluate.samples")
    with torch.no_grad():
        generated = logits(features)
    scores, half_values = zip(*(_score(part) for part in _parts(generated, splits)), strict=True)
    value = float(np.mean(scores))
    split = "validation" if subject.data.test is None else "test"
    with torch.no_grad():
        real = logits(real_subset(subject.real_features(extractor, split), n))
    has_interval = n >= 4 * splits
    mean_of_parts = torch.stack(half_values).mean(0)  # [COUNT]
    return Score(
        value=value,
        better="higher",
        n=n,
        seed=subject.seed,
        extractor=extractor.hash,
        preprocessing=extractor.preprocessing,
        interval=interval(value, mean_of_parts, n, low=1.0) if has_interval else None,
        interval_note=f"{COUNT} random halves" if has_interval else "needs 4 images per part",
        floor=float(np.mean([_score(part)[0] for part in _parts(real, min(splits, len(real)))])),
        floor_n=len(real),
        floor_split=split,
        values=mean_of_parts if has_interval else None,
    )


def _parts(logits: Tensor, splits: int) -> list[Tensor]:
    """The shuffled logits in parts of nearly equal size."""
    n = len(logits)
    shuffled = logits[torch.from_numpy(np.random.RandomState(SHUFFLE_SEED).permutation(n))]
    return [shuffled[i * n // splits : (i + 1) * n // splits] for i in range(splits)]


def _score(logits: Tensor) -> tuple[float, Tensor]:
    """The score of all these images, and the scores of their random halves [COUNT]."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()  # [n, classes]
    # Σ_y p(y|x) log p(y|x)
    negative_entropy = (p * log_p).sum(1)  # [n]
    weights = torch.cat([torch.ones(1, len(p), dtype=torch.float64), halves(len(p)).double()])
    weights /= weights.sum(1, keepdim=True)  # [1 + COUNT, n]: all images, then each half
    # p(y) = mean_x p(y|x)
    marginal = weights @ p  # [1 + COUNT, classes]
    # exp(mean KL) = exp(mean Σ_y p(y|x) log p(y|x) − Σ_y p(y) log p(y))
    scores = (weights @ negative_entropy - torch.special.xlogy(marginal, marginal).sum(1)).exp()
    return float(scores[0]), scores[1:]
