"""The noise generator's numbers by themselves: normal and uniform ones, and the bits that both come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import checks
from .choice import backend
from .noise import Noise, one


def normal(
    sample_ids: Tensor | None = None,
    stream: int | None = None,
    seed: int | None = None,
    shape: Sequence[int] | None = None,
    *,
    noise: Noise | None = None,
) -> Tensor:
    """Standard normal numbers, float32 [B, *shape], on the device of `sample_ids`. At most 2³⁴ elements a sample."""
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    shape = checks.sample_shape("shape", shape)
    if noise.sample_ids.is_mps:  # it has no float64
        return normal(noise=_on_cpu(noise), shape=shape).to(noise.sample_ids.device)
    return backend(noise.sample_ids.device).normal(noise, shape)


def uniform(
    sample_ids: Tensor | None = None,
    stream: int | None = None,
    seed: int | None = None,
    *,
    noise: Noise | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1) of 53 bits, float64 [B] (on the CPU for MPS, which has no float64).

    Of the 63 `bits`, 27 of word 0 and 26 of word 1: ((word 0 >> 5)·2²⁶ + (word 1 >> 6))·2⁻⁵³.
    """
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    pair = bits(noise=_on_cpu(noise) if noise.sample_ids.is_mps else noise)
    return (((pair >> 36) << 26) + ((pair & (2**31 - 1)) >> 5)).to(torch.float64) * 2.0**-53


def bits(
    sample_ids: Tensor | None = None,
    stream: int | None = None,
    seed: int | None = None,
    *,
    noise: Noise | None = None,
) -> Tensor:
    """63 random bits, int64 [B], 0 or more: word 0·2³¹ + (word 1 >> 1) of counter 0. Keys that sort into a random order."""
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    return backend(noise.sample_ids.device).bits(noise)


def made(noise: Noise, shape: Sequence[int]) -> Noise:
    """Noise whose ε, [B, *shape], is made already."""
    return replace(noise, given=normal(noise=noise, shape=shape))


def _on_cpu(noise: Noise) -> Noise:
    return replace(noise, sample_ids=noise.sample_ids.cpu())
