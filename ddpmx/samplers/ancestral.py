"""The split of a step into a deterministic part and new noise."""

from __future__ import annotations

import math
from dataclasses import replace

from .path import Point


def split(here: Point, there: Point, eta: float) -> tuple[Point, float]:
    """(target, std): a deterministic step to `target`, then new noise of that std in x, reaches `there`.

    With q = SNR_here/SNR_there and sigma that of `there`::

        std = eta·sigma·√(1 − q)     target.sigma = √(sigma² − std²)

    eta 0 is deterministic, and eta 1 has the posterior's variance. k-diffusion calls the two sigma_up and
    sigma_down.
    """
    q = (there.sigma_ve / here.sigma_ve) ** 2
    return replace(
        there, sigma=there.sigma * math.sqrt(1 - eta**2 + eta**2 * q)
    ), eta * there.sigma * math.sqrt(1 - q)
