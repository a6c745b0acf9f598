"""The inception score's formula, for any classifier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import SpecError
from .features import Extractor
from .halves import COUNT, halves, interval, real_choice
from .score import Score
from .subject import Subject

SHUFFLE = 2020  # torch-fidelity's seed: the parts hold the same images as there


def inception_score(
    subject: Subject, extractor: Extractor, logits: Callable[[Tensor], Tensor], splits: int
) -> Score:
    """exp(mean KL(p(y|x) ‖ p(y))) of `splits` parts of the images, and of these the mean (Salimans et al. 2016, section 4).

    Its floor is the score of real images (the test split, else the validation one). Raises SpecError for fewer than 2
    images a part.
    """
    features = subject.features(extractor)
    n = len(features)
    if n < 2 * splits:
        raise SpecError(
            f"needs {2 * splits} generated images or more, 2 a part, not {n}",
            field="splits",
            hint="evaluate.samples",
        )
    with torch.no_grad():
        drawn = logits(features)
    scores, spreads = zip(*(_score(part) for part in _parts(drawn, splits)), strict=True)
    value = float(np.mean(scores))
    some = real_choice(
        subject.real_features(extractor, "validation" if subject.data.test is None else "test"), n
    )
    with torch.no_grad():
        real = logits(some)
    enough = n >= 4 * splits
    return Score(
        value=value,
        better="higher",
        n=n,
        seed=subject.seed,
        extractor=extractor.hash,
        preprocessing=extractor.preprocessing,
        interval=interval(value, torch.stack(spreads).mean(0), n, low=1.0) if enough else None,
        interval_note=f"{COUNT} random halves" if enough else "needs 4 images a part",
        floor=float(np.mean([_score(part)[0] for part in _parts(real, min(splits, len(real)))])),
        floor_n=len(real),
    )


def _parts(logits: Tensor, splits: int) -> list[Tensor]:
    n = len(logits)
    shuffled = logits[torch.from_numpy(np.random.RandomState(SHUFFLE).permutation(n))]
    return [shuffled[i * n // splits : (i + 1) * n // splits] for i in range(splits)]


def _score(logits: Tensor) -> tuple[float, Tensor]:
    """The score of all these images, and of their halves [COUNT].

    mean KL = mean Σ_y p(y|x) log p(y|x) − Σ_y p(y) log p(y), so halves need only sums over images.
    """
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    own = (p * log_p).sum(1)
    chosen = torch.cat([torch.ones(1, len(p), dtype=torch.float64), halves(len(p)).double()])
    chosen /= chosen.sum(1, keepdim=True)
    marginal = chosen @ p
    scores = (chosen @ own - torch.special.xlogy(marginal, marginal).sum(1)).exp()
    return float(scores[0]), scores[1:]
