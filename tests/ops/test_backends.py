"""The native backends: the choice of one, bit for bit equality with the reference, and torch's tools."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from hot_math import LAYOUTS, ROWS, ids_of, layouts, on_backend, random
from torch import Tensor

from ddpmx import ops
from ddpmx.errors import SpecError
from ddpmx.ops import choice, layers, library, reference
from ddpmx.rows import Row

NATIVE = [name for name in ("cpp", "cuda") if ops.backends()[name]]
LEVELS = library.cpu_levels() if "cpp" in NATIVE else []
KEY: dict[str, Any] = {"seed": -7, "stream": ops.stream(ops.Purpose.SAMPLE, 3)}
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
NAMES = ["float32", "bfloat16", "float64"]


def test_the_reference_runs_here() -> None:
    available = ops.backends()
    assert list(available) == ["reference", "cpp", "cuda"]
    assert available["reference"]
    with ops.use_backend("reference"):
        assert ops.active("cpu") == ops.active(torch.device("cuda", 1)) == "reference"
        assert torch.equal(ops.normal(ids_of(2), 1, 1, (5,)), ops.normal(ids_of(2), 1, 1, (5,)))
    with ops.use_backend("auto"):
        assert available[ops.active("cpu")]


def test_an_unknown_or_missing_backend_is_a_spec_error() -> None:
    with (
        pytest.raises(SpecError, match="unknown backend 'referense'.*did you mean 'reference'"),
        ops.use_backend("referense"),
    ):
        pass
    for name, available in ops.backends().items():
        if not available:
            with (
                pytest.raises(
                    SpecError, match=f"'{name}' is not available here: .*available: auto, reference"
                ),
                ops.use_backend(name),
            ):
                pass


def test_a_forced_backend_stays_on_its_device(two_backends: str) -> None:
    with (
        ops.use_backend(two_backends),
        pytest.raises(SpecError, match="the backend 'cpp' runs on cpu, not on meta"),
    ):
        ops.normal(ids_of(2).to("meta"), 1, 1, (5,))


@pytest.fixture
def two_backends(monkeypatch: pytest.MonkeyPatch) -> str:
    """A second backend for the CPU, even if none is built, to test the choice."""
    monkeypatch.setitem(choice._BUILT, "cpp", choice._BUILT.get("cpp", reference))
    return "cpp"


def test_a_choice_nests_and_ends_with_its_block(two_backends: str) -> None:
    assert ops.active("cpu") == two_backends
    assert ops.active("meta") == "reference"
    with ops.use_backend("reference"):
        assert ops.active("cpu") == "reference"
        with ops.use_backend("auto"):
            assert ops.active("cpu") == two_backends
        with pytest.raises(ZeroDivisionError), ops.use_backend(two_backends):
            raise ZeroDivisionError
        assert ops.active("cpu") == "reference"
    assert ops.active("cpu") == two_backends


def test_a_choice_is_of_one_thread_and_one_task(two_backends: str) -> None:
    active: list[str] = []

    def look() -> None:
        active.append(ops.active("cpu"))

    async def forced(look: Callable[[], None], wait: float) -> None:
        with ops.use_backend("reference"):
            await asyncio.sleep(wait)
            look()

    async def both() -> None:
        task = asyncio.create_task(forced(look, 0.01))
        await asyncio.sleep(0)
        look()
        await task

    with ops.use_backend("reference"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    asyncio.run(both())
    assert active == [two_backends, two_backends, "reference"]


def test_exported_names_are_public() -> None:
    assert all(hasattr(ops, name) for name in ops.__all__)


@pytest.mark.parametrize("package", [ops, layers], ids=["ops", "layers"])
def test_no_function_hides_a_module(package: ModuleType) -> None:
    """`ddpmx.ops.x` is the module x for every file x.py."""
    for _, name, _ in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not name.split(".")[-1].startswith("_"):
            assert getattr(package, name.split(".")[-1]) is importlib.import_module(name)


# Equality


@pytest.fixture(params=NATIVE)
def native(request: pytest.FixtureRequest) -> Iterator[str]:
    with on_backend(request.param):
        yield request.param


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = library.cpu_level()
    library.set_cpu_level(request.param)
    with ops.use_backend("cpp"):
        yield request.param
    library.set_cpu_level(before)


def everything(dtype: torch.dtype, layout: str | None = None) -> list[Tensor]:
    """All results of the ops on three samples of odd size, with and without each optional argument."""
    x, output, noise, anchor, *history = (random((3, 3, 9, 11), dtype, seed) for seed in range(7))
    if layout:
        x, output, noise, anchor, *history = (
            layouts(t)[layout] for t in (x, output, noise, anchor, *history)
        )
    ids, v, w = ids_of(3), random((3,), seed=8), random((3,), seed=9)
    results = [
        ops.normal(ids, KEY["stream"], KEY["seed"], (3, 9, 11)),
        ops.bits(ids, 3, -1),
        ops.uniform(ids, 3, 2**64 - 1),
    ]
    for given in (None, noise):
        results.append(ops.add_noise(x, v, w, noise=given, sample_ids=ids, **KEY))
        for clip in (None, 0.7, torch.full((3,), 0.7)):
            for row in ROWS.values():
                results += ops.reverse_step(
                    x,
                    output,
                    row,
                    history=history,
                    anchor=anchor,
                    clip=clip,
                    noise=given,
                    sample_ids=ids,
                    **KEY,
                )  # type: ignore[arg-type]
    return results


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_a_native_backend_is_the_reference_bit_for_bit(
    native: str, dtype: torch.dtype, layout: str | None
) -> None:
    results = everything(dtype, layout)
    with ops.use_backend("reference"):
        expected = everything(dtype, layout)
    for result, truth in zip(results, expected, strict=True):
        assert result.dtype == truth.dtype
        assert torch.equal(result, truth)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=NAMES[:2])
def test_each_cpu_level_is_the_reference_bit_for_bit(level: str, dtype: torch.dtype) -> None:
    assert library.cpu_level() == level
    results = everything(dtype)
    with ops.use_backend("reference"):
        assert all(torch.equal(a, b) for a, b in zip(results, everything(dtype), strict=True))


@pytest.mark.skipif(not LEVELS, reason="no C++ backend")
def test_ten_million_numbers_are_equal() -> None:
    ids = torch.arange(100) * 7919
    with ops.use_backend("cpp"):
        values = ops.normal(ids, 5, 77, (100_000,))
    with ops.use_backend("reference"):
        assert all(
            torch.equal(ops.normal(ids[i : i + 10], 5, 77, (100_000,)), values[i : i + 10])
            for i in range(0, 100, 10)
        )


def loss_and_gradient(output: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    leaf, v = output.detach().requires_grad_(), random((output.shape[0],), seed=8)
    loss = ops.weighted_loss(
        leaf,
        random(tuple(output.shape), seed=1),
        v,
        v + 1,
        v - 1,
        norm=norm,
        sample_ids=ids_of(len(v)),
        **KEY,
    )
    (gradient,) = torch.autograd.grad(loss.square().sum(), leaf)
    return loss.detach(), gradient


@pytest.mark.parametrize("norm", ops.NORMS)
def test_sums_do_not_depend_on_level_threads_or_run(norm: str) -> None:
    """The loss has the same bits with 1, 2 and 3 threads, on every level, in every repetition."""
    output = random((5, 3, 60, 60))
    threads, before, results = torch.get_num_threads(), library.cpu_level() if LEVELS else "", []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for name in [*LEVELS, *LEVELS]:
                library.set_cpu_level(name)
                results.append(loss_and_gradient(output, norm))
    finally:
        torch.set_num_threads(threads)
        if LEVELS:
            library.set_cpu_level(before)
    assert all(
        torch.equal(loss, results[0][0]) and torch.equal(gradient, results[0][1])
        for loss, gradient in results
    )
    with ops.use_backend("reference"):
        loss, gradient = loss_and_gradient(output, norm)
    for native_loss, native_gradient in results[:1]:  # there are none without a compiled library
        torch.testing.assert_close(native_loss, loss, rtol=2e-6, atol=1e-7)
        torch.testing.assert_close(native_gradient, gradient, rtol=2e-6, atol=1e-7)


FORK = """
import os, signal
import torch
from ddpmx import ops

def step():
    ids, ones = torch.arange(8), torch.ones(8)
    x = ops.normal(ids, 3, 1, (3, 64, 64))
    output = x.clone().requires_grad_()
    loss = ops.weighted_loss(output, x, ones, ones, ones, sample_ids=ids, seed=1, stream=2)
    loss.sum().backward()
    return x, ops.add_noise(x, ones, ones, sample_ids=ids, seed=1, stream=2), loss.detach(), output.grad

torch.set_num_threads(2)
truth = step()
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that waits for missing threads
        os._exit(0 if all(map(torch.equal, step(), truth)) else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert all(map(torch.equal, step(), truth)) and torch.get_num_threads() == 2
"""


@pytest.mark.skipif(not LEVELS, reason="no C++ backend")
def test_a_forked_child_computes_the_same_and_ends() -> None:
    """As in the workers of a DataLoader, after the parent's threads have run."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


# Torch


def test_a_second_derivative_is_refused(native: str) -> None:
    output, ones = random((2, 5)).requires_grad_(), torch.ones(2)
    loss = ops.weighted_loss(
        output, random((2, 5), seed=1), ones, ones, ones, sample_ids=ids_of(2), **KEY
    ).sum()
    (gradient,) = torch.autograd.grad(loss, output, create_graph=True)
    torch.testing.assert_close(gradient.detach(), torch.autograd.grad(loss, output)[0])
    with pytest.raises(RuntimeError, match="weighted_loss can be differentiated once"):
        gradient.sum().backward()


def test_gradients_accumulate_without_sharing_memory(native: str) -> None:
    output, x, ones = random((2, 5)).requires_grad_(), random((2, 5), seed=1), torch.ones(2)
    loss = ops.weighted_loss(output, x, ones, ones, ones, sample_ids=ids_of(2), **KEY).sum()
    loss.backward(retain_graph=True)
    assert output.grad is not None
    first = output.grad.clone()
    loss.backward()
    torch.testing.assert_close(output.grad, 2 * first)


@pytest.mark.parametrize("op", ["add_noise", "reverse_step"])
def test_autograd_sees_that_a_kernel_wrote_into_a_saved_tensor(native: str, op: str) -> None:
    x, weight, ones = random((2, 5)), random((2, 5), seed=1).requires_grad_(), torch.ones(2)
    product = (x * weight).sum()
    with torch.no_grad():
        if op == "add_noise":
            ops.add_noise(x, ones, ones, sample_ids=ids_of(2), out=x, **KEY)
        else:
            ops.reverse_step(x, x.clone(), ROWS["ddim"], sample_ids=ids_of(2), out=x, **KEY)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_what_the_kernels_do_not_take_goes_to_the_reference(native: str) -> None:
    """14 dimensions that cannot be merged, and nine history terms."""
    x = random((2, *[2] * 13)).permute(0, *range(13, 0, -1))
    ones, ids = torch.ones(2), ids_of(2)
    row = Row(
        t=0,
        x0_from_x=1,
        x0_from_output=0.5,
        c_x=0.1,
        c_x0=0.2,
        c_history=tuple(0.1 * k for k in range(1, 10)),
    )
    history = [random((2, 7), seed=seed) for seed in range(9)]

    def run() -> list[Tensor | None]:
        y = random((2, 7), seed=11)
        results = [
            ops.add_noise(x, ones, ones, sample_ids=ids, **KEY),
            ops.weighted_loss(x, x, ones, ones, ones, sample_ids=ids, **KEY),
        ]
        return [*results, *ops.reverse_step(y, y, row, history=history, sample_ids=ids, **KEY)]

    results = run()
    with ops.use_backend("reference"):
        expected = run()
    assert all(
        a is not None and b is not None and torch.equal(a, b) for a, b in zip(results, expected, strict=True)
    )


def test_reverse_step_leaves_m_out_where_it_is_not_wanted(native: str) -> None:
    x, row, ids = random((3, 40)), ROWS["ddpm"], ids_of(3)
    x_next, m = ops.reverse_step(x, x, row, sample_ids=ids, **KEY)
    alone, none = ops.reverse_step(x, x, row, sample_ids=ids, want_m=False, **KEY)
    assert none is None
    assert m is not None
    assert torch.equal(alone, x_next)


def samples(device: torch.device) -> dict[str, list[tuple[object, ...]]]:
    """Arguments of each operator, for opcheck."""
    x, ids, v = random((3, 2, 5)).to(device), ids_of(3).to(device), torch.rand(3, device=device)
    low, grad = x.bfloat16(), x.clone().requires_grad_()
    row = [1.1, -0.7, 0.3, 0.6, 0.1, 0.2, 0.4, 1.0, 0.5]
    return {
        "normal": [(ids, 3, -5, torch.empty_like(x))],
        "bits": [(ids, 3, -5, torch.empty_like(ids))],
        "add_noise": [
            (x, v, v, ids, 3, -5, None, torch.empty_like(x)),
            (low, v, v, ids, 3, -5, x, torch.empty_like(low)),
        ],
        "weighted_loss": [
            (x, x.clone(), v, v, v, ids, 3, -5, None, 1, 1.0, torch.empty_like(v), torch.empty_like(x)),
            (low, x, v, v, v, ids, 3, -5, x.clone(), 2, 0.5, torch.empty_like(v), torch.empty_like(x)),
        ],
        "reverse_step": [
            (
                x,
                low,
                row,
                [grad.detach()],
                x.clone(),
                v,
                1.0,
                ids,
                3,
                -5,
                None,
                torch.empty_like(x),
                torch.empty_like(x),
            ),
            (x, low, row[:8], [], x.clone(), None, 1.0, ids, 3, -5, x.clone(), torch.empty_like(x), None),
        ],
    }


@pytest.mark.parametrize("op", ["normal", "bits", "add_noise", "weighted_loss", "reverse_step"])
def test_torch_finds_the_operators_well_made(native: str, op: str) -> None:
    """opcheck tests the schema, fake tensors, autograd registration, and tracing with dynamic shapes."""
    for arguments in samples(torch.get_default_device())[op]:
        torch.library.opcheck(getattr(torch.ops.ddpmx, op).default, arguments)


def step(output: Tensor, x: Tensor, v: Tensor, ids: Tensor, seed: int, stream: int) -> tuple[Tensor, ...]:
    """All ops of a training step and of a sampling step."""
    key: dict[str, Any] = {"sample_ids": ids, "seed": seed, "stream": stream}
    x_t = ops.add_noise(x, v, v, **key)
    loss = ops.weighted_loss(output * x_t, x, v, v, v, norm="huber", **key)
    with torch.no_grad():
        x_next, m = ops.reverse_step(x, output, ROWS["history"], history=[x, x, x_t], clip=1.0, **key)
        last, _ = ops.reverse_step(x_next.clone(), output, ROWS["ddpm"], clip=v, want_m=False, **key)
    assert m is not None
    return x_t, loss, x_next, m, last, ops.normal(ids, stream, seed, (4,)), ops.uniform(ids, stream, seed)


def test_compile_makes_one_graph_of_a_step(native: str) -> None:
    """`torch.compile(fullgraph=True)` works forward and backward, and does not recompile for a new seed."""
    x, v, ids = random((3, 2, 5)), torch.rand(3), ids_of(3)
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    for seed, stream in ((5, 1), (6, 2), (7, 3)):
        results, gradients = [], []
        with torch._dynamo.config.patch(error_on_recompile=seed == 7):
            for run in (step, compiled):
                output = random((3, 2, 5), seed=1).requires_grad_()
                results.append(run(output, x, v, ids, seed, stream))
                (gradient,) = torch.autograd.grad(results[-1][1].sum(), output)
                gradients.append(gradient)
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b)
        torch.testing.assert_close(*gradients)


def test_the_seed_may_be_any_of_64_bits(native: str) -> None:
    for seed in (-(2**63), -1, 2**63 - 1, 2**63, 2**64 - 1):
        values = ops.normal(ids_of(2), 2**32 - 1, seed, (40,))
        with ops.use_backend("reference"):
            assert torch.equal(ops.normal(ids_of(2), 2**32 - 1, seed, (40,)), values)
