"""The source of a batch's noise, as one value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class Noise:
    """The standard normal ε of a batch: a function of (seed, stream, sample id), or a tensor.

    Nothing changes the fields. The class is still not frozen: an op makes a value in each call, and a frozen
    class would double the time that takes. The ops check the fields when they use them. `csrc/batch.h` has
    the same struct.
    """

    seed: int
    """From −2⁶³ to 2⁶⁴ − 1, taken modulo 2⁶⁴."""
    stream: int
    """32 bits that separate one use of random numbers from another, see `ops.stream`."""
    sample_ids: Tensor
    """int64 [B], 0 or more, on the device of the batch."""
    given: Tensor | None = None
    """ε itself, [B, …] in float32 or the batch's dtype, if it is made already; nothing is drawn then."""


def resolve_noise(
    noise: Noise | Tensor | None,
    seed: int | None,
    stream: int | None,
    sample_ids: Tensor | None,
    x: Tensor | None = None,
) -> Noise:
    """The noise of a call: its `noise=Noise(…)`, or one made of its keywords and perhaps a tensor `noise`.

    With a tensor `noise` for the batch x, nothing is drawn, so the three keywords may be left out. Raises
    TypeError for a call that mixes the two forms or lacks one of the three.
    """
    if isinstance(noise, Noise):
        if seed is not None or stream is not None or sample_ids is not None:
            raise _repeated(seed=seed, stream=stream, sample_ids=sample_ids)
        return noise
    keyless = seed is None and stream is None and sample_ids is None
    if keyless and noise is not None and isinstance(x, Tensor):
        return Noise(0, 0, torch.zeros(x.shape[:1], dtype=torch.int64, device=x.device), noise)
    if seed is None or stream is None or sample_ids is None:
        raise _missing(seed=seed, stream=stream, sample_ids=sample_ids)
    return Noise(seed, stream, sample_ids, noise)


def _missing(**key: object) -> TypeError:
    """The error for a missing argument, or one that is None."""
    name = next(name for name, value in key.items() if value is None)
    kind = "a tensor" if name == "sample_ids" else "an int"
    return TypeError(
        f"{name} should be {kind}, not NoneType: "
        "pass noise=Noise(seed, stream, sample_ids), or all three as keywords"
    )


def _repeated(**key: object) -> TypeError:
    name = next(name for name, value in key.items() if value is not None)
    return TypeError(f"{name} is given twice, as a keyword and in noise=Noise(…): leave the keyword out")
