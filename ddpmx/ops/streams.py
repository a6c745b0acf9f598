"""The streams of noise: one for each purpose at each step, so that no two uses share their numbers."""

from __future__ import annotations

from enum import IntEnum

from . import checks


class Purpose(IntEnum):
    """What random numbers are for, so that no two uses share them. The numbers are part of the definition: only add."""

    INIT = 0  # the noise that sampling starts from
    SAMPLE = 1  # the noise that a sampling step injects
    NOISE = 2  # ε of training
    TIME = 3  # the timestep of training
    ORDER = 4  # the order of the data
    FLIP = 5  # whether an image is mirrored
    VALIDATION_NOISE = 6
    VALIDATION_TIME = 7
    LABEL = 8  # whether training hides an image's class
    SELF_CONDITION = 9  # whether a training step runs the network twice
    KNOWN = 10  # the noise on what inpainting knows
    BOUND = 11  # ε of the metric bpd
    BOUND_TIME = 12


def stream(purpose: int, step: int) -> int:
    """The 32-bit stream of a purpose (a `Purpose`, or any int of 8 bits) at a step (24 bits): purpose·2²⁴ + step."""
    checks.integer("purpose", purpose, 0, 2**8)
    checks.integer("step", step, 0, 2**24)
    return int(purpose) << 24 | step
