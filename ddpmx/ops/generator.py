"""Random numbers from the noise generator: normal numbers, uniform numbers, and bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import checks
from .choice import backend
from .noise import Noise, resolve_noise


def normal(
    sample_ids: Tensor | None = None,
    stream: int | None = None,
    seed: int | None = None,
    shape: Sequence[int] | None = None,
    *,
    noise: Noise | None = None,
) -> Tensor:
    """Standard normal numbers, float32 [B, *shape], on the device of `sample_ids`.

    A sample has at most 2³⁴ elements.
    """
    noise = resolve_noise(noise, seed, stream, sample_ids)
    checks.key(noise)
    shape = checks.sample_shape("shape", shape)
    if noise.sample_ids.is_mps:  # MPS has no float64, which the generator needs
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

    They are made of 27 bits of word 0 and 26 bits of word 1 of `bits`::

        ((word 0 >> 5)·2²⁶ + (word 1 >> 6))·2⁻⁵³
    """
    noise = resolve_noise(noise, seed, stream, sample_ids)
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
    """63 random bits, int64 [B], 0 or more: word 0·2³¹ + (word 1 >> 1) of counter 0.

    Sorting by them gives a random order.
    """
    noise = resolve_noise(noise, seed, stream, sample_ids)
    checks.key(noise)
    return backend(noise.sample_ids.device).bits(noise)


def with_epsilon(noise: Noise, shape: Sequence[int]) -> Noise:
    """The same noise with its ε [B, *shape] already drawn."""
    return replace(noise, given=normal(noise=noise, shape=shape))


def _on_cpu(noise: Noise) -> Noise:
    return replace(noise, sample_ids=noise.sample_ids.cpu())
