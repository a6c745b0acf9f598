"""The kernels compared with the reference: each CPU level, and the CUDA kernels on an emulated GPU."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pybind11
import pytest
import torch
from hot_math import LAYOUTS, ROWS, ids_of, layouts, random
from numpy.typing import NDArray
from torch import Tensor

from ddpmx import ops
from ddpmx.ops import library
from ddpmx.rows import Row

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("g++")
FLAGS = (
    "-std=c++17 -O1 -fPIC -shared -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math"
)
WARNINGS = "-Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-psabi -Wno-uninitialized"
TARGETS = [*(library.cpu_levels() if ops.backends()["cpp"] else ()), "eight", "cuda"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++")

STREAM, SEED = 0xDEADBEEF, 2**64 - 12345
# One element, the ends of a warp's words, half and partial blocks, several parts of 2,048, several blocks of
# 8 warps.
SHAPES = [
    (1, 1),
    (2, 31),
    (1, 33),
    (3, 127),
    (2, 128),
    (5, 129),
    (2, 64),
    (1, 65),
    (2, 3, 5, 7),
    (2, 1, 28, 28),
    (2, 3, 32, 32),
    (3, 2049),
    (19, 2, 3),
    (0, 4),
    (3, 0),
    (4,),
]


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module tests/kernels/module.cpp, compiled once for all processes of a session."""
    shared = tmp_path_factory.getbasetemp()
    folder = shared.parent if "popen" in shared.name else shared  # xdist: the processes' common folder
    library = folder / "ddpmx_kernels.so"
    with (folder / "kernels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            include = [
                f"-I{path}"
                for path in (
                    ROOT / "csrc",
                    ROOT / "tests/kernels",
                    pybind11.get_include(),
                    sysconfig.get_paths()["include"],
                )
            ]
            sources = ["-x", "c++", ROOT / "tests/kernels/module.cpp", ROOT / "csrc/cpu.cpp"]
            sanitize = os.environ.get("DDPMX_SANITIZE", "").split()  # tools/sanitize.sh
            subprocess.run(
                [COMPILER, *FLAGS.split(), *WARNINGS.split(), *sanitize, *include, *sources, "-o", library],
                check=True,
            )
    spec = importlib.util.spec_from_file_location("ddpmx_kernels", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    """Make `ops` the reference in every test."""
    with ops.use_backend("reference"):
        yield


def raw(x: Tensor | None) -> NDArray[Any] | None:
    """The memory of a tensor as an array of its layout, with bfloat16 as uint16."""
    return None if x is None else (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def key(batch: int) -> tuple[Any, ...]:
    return ids_of(batch).numpy(), STREAM, SEED


def keyed(batch: int) -> dict[str, Any]:
    return {"sample_ids": ids_of(batch), "stream": STREAM, "seed": SEED}


def empty(x: Tensor) -> Tensor:
    """A tensor like x, filled with a value that no kernel writes."""
    return torch.full_like(x, 77)


@pytest.mark.parametrize("shape", SHAPES)
def test_normal_is_the_reference(kernels: ModuleType, target: str, shape: tuple[int, ...]) -> None:
    out = torch.full(shape, 77.0)
    kernels.normal(target, *key(shape[0]), out.numpy())
    assert torch.equal(out, ops.normal(ids_of(shape[0]), STREAM, SEED, shape[1:]))


def test_normal_takes_every_id_and_strided_ones(kernels: ModuleType, target: str) -> None:
    ids = torch.tensor([0, 7, 1, 7, 2**31, 7, 2**32, 7, 2**63 - 1, 7])[::2]
    out = torch.zeros(5, 300)
    kernels.normal(target, ids.numpy(), 0, 1, out.numpy())
    assert torch.equal(out, ops.normal(ids, 0, 1, (300,)))


def test_bits_are_the_reference(kernels: ModuleType, target: str) -> None:
    ids = torch.tensor([0, 1, 2**31, 2**32, 2**63 - 1, *range(5, 500)])
    out = torch.zeros(len(ids), dtype=torch.int64)
    assert kernels.bits(target, ids.numpy(), STREAM, SEED, out.numpy())
    assert torch.equal(out, ops.bits(ids, STREAM, SEED))


def test_bits_finds_negative_ids(kernels: ModuleType) -> None:
    assert not kernels.bits("scalar", np.array([3, -1]), 0, 0, np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize("noise", ["made", "float32", "x's dtype"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_add_noise_is_the_reference(
    kernels: ModuleType, target: str, shape: tuple[int, ...], dtype: torch.dtype, noise: str
) -> None:
    x, signal, sigma = random(shape, dtype), random(shape[:1], seed=1), random(shape[:1], seed=2)
    given = None if noise == "made" else random(shape, torch.float32 if noise == "float32" else dtype, seed=3)
    out = empty(x)
    kernels.add_noise(target, raw(x), raw(signal), raw(sigma), *key(shape[0]), raw(given), raw(out))
    assert torch.equal(out, ops.add_noise(x, signal, sigma, noise=given, **keyed(shape[0])))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_layouts_are_walked(kernels: ModuleType, target: str, layout: str, dtype: torch.dtype) -> None:
    """Several blocks and parts of 2,048 elements. Every tensor has the layout, then only the inputs do."""
    x, noise = (layouts(random((3, 5, 21, 22), dtype, seed))[layout] for seed in (0, 1))
    signal, sigma = random((3, 2))[:, 0], random((3, 3))[:, 1]
    for out in (
        layouts(torch.zeros(3, 5, 21, 22, dtype=dtype))[layout] if layout != "expanded" else x.contiguous(),
        x.contiguous(),
    ):
        kernels.add_noise(target, raw(x), raw(signal), raw(sigma), *key(3), raw(noise), raw(out))
        assert torch.equal(out, ops.add_noise(x, signal, sigma, noise=noise, **keyed(3)))
    m, x_next, row = empty(x.contiguous()), empty(x.contiguous()), ROWS["all"]
    limit = torch.full((3,), 0.7)
    kernels.reverse_step(
        target,
        raw(x),
        raw(noise),
        coefficients(row),
        [raw(x), raw(noise), raw(x)],
        raw(noise),
        raw(limit),
        *key(3),
        None,
        raw(x_next),
        raw(m),
    )
    expected = ops.reverse_step(x, noise, row, history=[x, noise, x], anchor=noise, clip=0.7, **keyed(3))
    assert torch.equal(x_next, expected[0])
    assert expected[1] is not None
    assert torch.equal(m, expected[1])


def coefficients(row: Row) -> list[float]:
    return [
        row.x0_from_x,
        row.x0_from_output,
        row.c_x,
        row.c_x0,
        row.c_anchor,
        row.c_noise,
        row.m_x,
        row.m_x0,
        *row.c_history,
    ]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("output_dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (3, 2049), (1, 128)])
@pytest.mark.parametrize("clip", [None, 0.6, "each"])
def test_reverse_step_is_the_reference(
    kernels: ModuleType,
    target: str,
    row: Row,
    dtype: torch.dtype,
    output_dtype: torch.dtype,
    shape: tuple[int, ...],
    clip: float | str | None,
) -> None:
    """Bit for bit in float32 and bfloat16, also when it writes into x, and without m."""
    x, anchor, *history = (random(shape, dtype, seed) for seed in range(5))
    output = random(shape, output_dtype, seed=9)
    limit = (
        torch.linspace(0.2, 1.5, shape[0])
        if isinstance(clip, str)
        else torch.full(shape[:1], torch.inf if clip is None else clip)
    )
    bound = limit if isinstance(clip, str) else clip
    expected, m_expected = ops.reverse_step(
        x, output, row, history=history, anchor=anchor, clip=bound, **keyed(shape[0])
    )
    inputs = (
        raw(output),
        coefficients(row),
        [raw(past) for past in history],
        raw(anchor),
        raw(limit),
        *key(shape[0]),
        None,
    )
    x_next, m = empty(x), empty(x)
    kernels.reverse_step(target, raw(x), *inputs, raw(x_next), raw(m))
    assert torch.equal(x_next, expected)
    assert m_expected is not None
    assert torch.equal(m, m_expected)
    again = x.clone()
    kernels.reverse_step(target, raw(again), *inputs, raw(again), None)
    assert torch.equal(again, expected)


def test_reverse_step_takes_noise_and_keeps_nan(kernels: ModuleType, target: str) -> None:
    x, output, noise = random((2, 300)), random((2, 300), seed=1), random((2, 300), seed=2)
    output[0, 5] = torch.nan
    x_next, row = empty(x), ROWS["ddpm"]
    kernels.reverse_step(
        target,
        raw(x),
        raw(output),
        coefficients(row),
        [],
        raw(x),
        raw(torch.ones(2)),
        *key(2),
        raw(noise),
        raw(x_next),
        None,
    )
    expected, _ = ops.reverse_step(x, output, row, clip=1.0, noise=noise, **keyed(2))
    assert x_next[0, 5].isnan()
    assert torch.equal(x_next.nan_to_num(9), expected.nan_to_num(9))


@pytest.mark.parametrize("norm", ops.NORMS)
@pytest.mark.parametrize("made", [True, False], ids=["made", "given"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (3, 2049), (1, 128), (9, 1), (2, 1, 28, 28), (4, 3, 40, 40)])
def test_loss_and_gradient_are_the_references(
    kernels: ModuleType, target: str, norm: str, made: bool, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    """Up to rounding. The gradient has the bits of the scalar level, and on the CPU the loss has them too."""
    output, x_start = random(shape, dtype), random(shape, seed=1)
    vectors = [random(shape[:1], seed=seed) for seed in (2, 3, 4)]
    given = None if made else random(shape, seed=5)

    def run(where: str, gradient: Tensor | None) -> Tensor:
        loss = torch.full(shape[:1], 77.0)
        inputs = [raw(t) for t in (output, x_start, *vectors)]
        kernels.weighted_loss(
            where, *inputs, *key(shape[0]), raw(given), ops.NORMS.index(norm), 0.3, raw(loss), raw(gradient)
        )
        return loss

    gradient, scalar = torch.full(shape, 77.0), torch.full(shape, 77.0)
    loss, scalar_loss = run(target, gradient), run("scalar", scalar)
    assert torch.equal(run(target, None), loss)
    assert torch.equal(gradient, scalar)
    if target != "cuda":
        assert torch.equal(loss, scalar_loss)
    leaf = output.clone().requires_grad_()
    expected = ops.weighted_loss(
        leaf, x_start, *vectors, norm=norm, delta=0.3, noise=given, **keyed(shape[0])
    )
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=2e-6, atol=1e-7)
    assert leaf.grad is not None
    torch.testing.assert_close(
        gradient, leaf.grad.float(), rtol=2**-8 if dtype == torch.bfloat16 else 1e-6, atol=1e-7
    )


def test_more_dimensions_than_the_kernels_take_are_refused(kernels: ModuleType) -> None:
    """Dimensions that can be merged do not count. `ddpmx.ops` passes the others to the reference."""
    x = random((2, *[2] * 13))
    signal = torch.ones(2)
    out = empty(x)
    kernels.add_noise("scalar", raw(x), raw(signal), raw(signal), *key(2), None, raw(out))
    assert torch.equal(out, ops.add_noise(x, signal, signal, **keyed(2)))
    permuted = x.permute(0, *range(13, 0, -1))
    with pytest.raises(RuntimeError, match="too many dimensions"):
        kernels.add_noise("scalar", raw(permuted), raw(signal), raw(signal), *key(2), None, raw(out))
