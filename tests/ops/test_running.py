"""An operation is tried before its arguments are checked, and never runs twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hot_math import ROWS, ids_of, random

from ddpmx import Noise, ops
from ddpmx.ops import library

NATIVE = [name for name in ("cpp", "cuda") if ops.backends()[name]]
DEVICES = {"cpp": "cpu", "cuda": "cuda"}
NO_MEMORY: list[Callable[[], BaseException]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory"),
    MemoryError,
]


def call(op: str, device: str, noise: Noise | None = None) -> object:
    x, v = random((3, 2, 40)).to(device), torch.rand(3, device=device)
    noise = noise or Noise(1, 2, ids_of(3).to(device))
    if op == "add_noise":
        return ops.add_noise(x, v, v, noise=noise)
    if op == "weighted_loss":
        return ops.weighted_loss(x, x.clone(), v, v, v, noise=noise)
    return ops.reverse_step(x, x.clone(), ROWS["ddpm"], noise=noise)


@pytest.mark.parametrize("op", ["add_noise", "weighted_loss", "reverse_step"])
@pytest.mark.parametrize("make_error", NO_MEMORY, ids=["cuda", "cpu", "python"])
@pytest.mark.parametrize("backend", NATIVE)
def test_memory_that_runs_out_is_reported_after_one_run(
    backend: str, make_error: Callable[[], BaseException], op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, runs = make_error(), []

    def allocate(*arguments: object) -> None:
        runs.append(arguments)
        raise error

    monkeypatch.setitem(library.OPERATORS, op, allocate)
    with ops.use_backend(backend), pytest.raises(type(error)) as caught:
        call(op, DEVICES[backend])
    assert caught.value is error
    assert len(runs) == 1


@pytest.mark.parametrize("op", ["add_noise", "weighted_loss", "reverse_step"])
@pytest.mark.parametrize("backend", NATIVE)
def test_a_refusal_of_wrong_arguments_is_the_check_s_error_alone(
    backend: str, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, operator = [], library.OPERATORS[op]

    def counted(*arguments: Any) -> None:
        runs.append(arguments)
        operator(*arguments)

    monkeypatch.setitem(library.OPERATORS, op, counted)
    device = DEVICES[backend]
    wrong: list[tuple[Noise, type[Exception], str]] = [
        (Noise(1, 2, ids_of(4).to(device)), ValueError, "^sample_ids should have shape"),
        (
            Noise(1, 2, ids_of(3).to(device), torch.zeros(3, 2, 40, device=device).half()),
            TypeError,
            "^noise should be float32",
        ),
        (Noise(1, 2**32, ids_of(3).to(device)), ValueError, "^stream should be from 0"),
    ]
    for noise, error, message in wrong:
        with ops.use_backend(backend), pytest.raises(error, match=message) as caught:
            call(op, device, noise)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert len(runs) == len(wrong)
