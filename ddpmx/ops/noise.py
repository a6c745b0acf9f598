"""`Noise`: what the random numbers of a batch are a function of, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(slots=True, eq=False)
class Noise:
    """The standard normal ε of a batch: a function of (seed, stream, sample id), or the tensor that is given.

    - `seed` is an int from −2⁶³ to 2⁶⁴ − 1, taken modulo 2⁶⁴.
    - `stream` has 32 bits and keeps one use of the numbers apart from the next, see `ops.stream`.
    - `sample_ids` is int64 [B], 0 or more, on the device of the batch.
    - `given` is ε where it has been made already, [B, …] in float32 or the batch's dtype: nothing is drawn then.

    A value: nothing changes its fields. It is not frozen, since an op makes one in each call, and that would double the
    time it takes. The ops check the fields when they use them. `csrc/batch.h` has the same struct.
    """

    seed: int
    stream: int
    sample_ids: Tensor
    given: Tensor | None = None


def one(
    noise: Noise | Tensor | None, seed: int | None, stream: int | None, sample_ids: Tensor | None
) -> Noise:
    """The noise of a call, which names either `noise=Noise(…)` or `seed`, `stream`, `sample_ids` and perhaps a tensor `noise`.

    Raises TypeError for a call that does both, or lacks one of the three.
    """
    if isinstance(noise, Noise):
        if seed is not None or stream is not None or sample_ids is not None:
            raise _repeated(seed=seed, stream=stream, sample_ids=sample_ids)
        return noise
    if seed is None or stream is None or sample_ids is None:
        raise _missing(seed=seed, stream=stream, sample_ids=sample_ids)
    return Noise(seed, stream, sample_ids, noise)


def _missing(**key: object) -> TypeError:
    """Nothing says which random numbers are meant. The words fit an argument that is None, too."""
    name = next(name for name, value in key.items() if value is None)
    kind = "a tensor" if name == "sample_ids" else "an int"
    return TypeError(
        f"{name} should be {kind}, not NoneType: an op takes noise=Noise(seed, stream, sample_ids), or these three alone"
    )


def _repeated(**key: object) -> TypeError:
    name = next(name for name, value in key.items() if value is not None)
    return TypeError(f"{name} is given beside noise=Noise(…), which has one: leave one of them out")
