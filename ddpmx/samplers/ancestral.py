"""Where a step stops when the rest of the way is new noise."""

from __future__ import annotations

import math
from dataclasses import replace

from .path import Point


def split(here: Point, there: Point, eta: float) -> tuple[Point, float]:
    """(target, std): a deterministic step to `target` and new noise of that std in x together reach `there`.

    With q = SNR_here/SNR_there, std = eta·sigma·√(1 − q) and target.sigma = √(sigma² − std²), sigma being that of `there`:
    eta 0 is deterministic, eta 1 has the variance of the posterior (k-diffusion's sigma_up and sigma_down).
    """
    q = (there.sigma_ve / here.sigma_ve) ** 2
    return replace(
        there, sigma=there.sigma * math.sqrt(1 - eta**2 + eta**2 * q)
    ), eta * there.sigma * math.sqrt(1 - q)
