"""How an operation runs: by the backend that is in use, tried first and checked only where that refuses."""

from __future__ import annotations

from torch import Tensor
from torch.compiler import is_dynamo_compiling

from . import native
from .choice import backend
from .generator import made
from .native import DTYPES, REFUSALS
from .operations import Operation, Result


def run(op: Operation[Result], x: Tensor) -> Result:
    """The result of an operation on the batch x.

    The checks take longer than the kernel of a small batch. A native backend's operators refuse what does not fit by
    themselves, so where all that Python reads is of a plain type, they are tried without checks, and these are made after a
    refusal only, to say in words what is wrong. An error that they cannot explain is not about the arguments: memory has
    run out, or the device has failed. It goes to the caller, and the operation is not run again.
    """
    noise = op.noise
    if (
        type(x) is Tensor
        and x.dtype in DTYPES
        and type(noise.seed) is type(noise.stream) is int
        and not is_dynamo_compiling()
        and backend(x.device) is native
    ):
        try:
            if op.is_plain():
                return op.run(native)
        except REFUSALS:
            _check_in_words(op)
            raise
    op.check()
    if x.is_mps and op.draws():  # there the noise is made on the CPU and copied
        op.noise = made(noise, x.shape[1:])
    return op.run(backend(x.device))


def _check_in_words(op: Operation[object]) -> None:
    try:
        op.check()
    except (TypeError, ValueError, RuntimeError) as wrong:
        raise wrong from None  # the refusal says less
