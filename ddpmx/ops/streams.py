"""The streams of noise: one for each purpose and step, so that no two uses share random numbers."""

from __future__ import annotations

from enum import IntEnum

from . import checks


class Purpose(IntEnum):
    """A use of random numbers, with its own streams. The values define results: add new ones, change none."""

    INIT = 0  # the noise that sampling starts from
    SAMPLE = 1  # the noise that a sampling step injects
    NOISE = 2  # ε in training
    TIME = 3  # the timestep in training
    ORDER = 4  # the order of the training images
    FLIP = 5  # whether an image is mirrored
    VALIDATION_NOISE = 6  # ε in validation
    VALIDATION_TIME = 7  # the timestep in validation
    LABEL = 8  # whether training hides an image's class
    SELF_CONDITION = 9  # whether a training step runs the network twice
    KNOWN = 10  # the noise added to the known pixels of inpainting
    BOUND = 11  # ε in the metric bpd
    BOUND_TIME = 12  # the timestep in the metric bpd
    PROBE = 13  # the signs that estimate a trace
    DENSITY = 14  # ε in the metric nll
    DEQUANTISE = 15  # the place in a pixel's bin in the metric nll_uniform
    MOMENTS = 16  # ε in the moments of a network that samplers use
    STEPS = 17  # ε in the search for the best timesteps


def stream(purpose: int, step: int) -> int:
    """The 32-bit stream purpose·2²⁴ + step, for a `Purpose` (or any 8-bit int) and a 24-bit step."""
    checks.integer("purpose", purpose, 0, 2**8)
    checks.integer("step", step, 0, 2**24)
    return int(purpose) << 24 | step
