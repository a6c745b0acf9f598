"""Running an operation: its backend is tried first, and the arguments are checked only if it refuses them."""

from __future__ import annotations

from torch import Tensor
from torch.compiler import is_dynamo_compiling

from . import native
from .choice import backend
from .generator import with_epsilon
from .native import DTYPES, REFUSALS
from .operations import Operation, Result


def run(op: Operation[Result], x: Tensor) -> Result:
    """The result of an operation on the batch x.

    For a small batch, the checks take longer than the kernel. The operators of a native backend refuse wrong
    arguments by themselves. So they are tried without checks if everything that Python reads has a plain
    type, and the checks run only after a refusal, to say what is wrong. An error that they cannot explain has
    another cause, such as too little memory or a failed device. It goes to the caller, and the operation is
    not run again.
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
            _explain_refusal(op)
            raise
    op.check()
    if x.is_mps and op.draws():  # MPS gets its noise from the CPU
        op.noise = with_epsilon(noise, x.shape[1:])
    return op.run(backend(x.device))


def _explain_refusal(op: Operation[object]) -> None:
    """Raise the error of the check that fails, if one does."""
    try:
        op.check()
    except (TypeError, ValueError, RuntimeError) as error:
        raise error from None  # the kernel's refusal says less
