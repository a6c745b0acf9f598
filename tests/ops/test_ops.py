"""add_noise, weighted_loss and reverse_step: float64 formulas, arguments, layouts and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hot_math import BACKENDS, ROWS, ids_of, layouts, on_backend, random
from torch import Tensor

from ddpmx import ops
from ddpmx.rows import Row

KEY: dict[str, Any] = {"seed": 11, "stream": ops.stream(ops.Purpose.NOISE, 3)}
SHAPES = [
    (4,),
    (1, 1),
    (0, 3, 8, 8),
    (1, 3, 8, 8),
    (3, 5),
    (2, 1, 28, 28),
    (5, 3, 7, 11),
    (2, 2, 3, 4, 5),
    (3, 129),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
NAMES = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
TOLERANCE = {
    torch.float32: 4e-7,
    torch.bfloat16: 2**-8,
    torch.float64: 1e-14,
}  # relative to the sum of the terms' absolute values


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test on every available backend."""
    with on_backend(request.param):
        yield request.param


def wide(v: Tensor, x: Tensor) -> Tensor:
    """A per-sample vector in float64, in a shape that broadcasts to x."""
    return v.double().reshape(-1, *[1] * (x.ndim - 1))


def epsilon(x: Tensor) -> Tensor:
    return ops.normal(ids_of(len(x)), KEY["stream"], KEY["seed"], x.shape[1:]).double()


def close(actual: Tensor, expected: Tensor, size: Tensor, dtype: torch.dtype) -> None:
    """Assert that |actual − expected| is within the rounding of the dtype for terms of this size."""
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    assert ((actual.double() - expected).abs() <= TOLERANCE[dtype] * size + 1e-30).all()


# add_noise


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_add_noise_is_its_formula(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = random(shape, dtype)
    signal, sigma = torch.rand(shape[0]), torch.rand(shape[0]) + 0.1
    x_t = ops.add_noise(x, signal, sigma, sample_ids=ids_of(shape[0]), **KEY)
    a, b = wide(signal, x) * x.double(), wide(sigma, x) * epsilon(x)
    close(x_t, a + b, a.abs() + b.abs(), dtype)


def test_add_noise_rounds_each_product_and_their_sum() -> None:
    """Bit for bit: a product of two float32 is exact in float64, so rounding it gives the float32 product.

    The same holds for the sum.
    """
    x, signal, sigma = random((50, 1000)), torch.rand(50), torch.rand(50)
    products = [(wide(v, x) * t.double()).float() for v, t in ((signal, x), (sigma, epsilon(x)))]
    expected = (products[0].double() + products[1].double()).float()
    assert torch.equal(ops.add_noise(x, signal, sigma, sample_ids=ids_of(50), **KEY), expected)
    low = x.bfloat16()
    products[0] = (wide(signal, x) * low.double()).float()
    expected = (products[0].double() + products[1].double()).float().bfloat16()
    assert torch.equal(ops.add_noise(low, signal, sigma, sample_ids=ids_of(50), **KEY), expected)


@pytest.mark.parametrize("noise_dtype", DTYPES[:2], ids=NAMES[:2])
def test_add_noise_takes_noise(noise_dtype: torch.dtype) -> None:
    x, noise = random((3, 2, 5), torch.bfloat16), random((3, 2, 5), noise_dtype, seed=1)
    ones = torch.ones(3)
    x_t = ops.add_noise(x, ones, 0.5 * ones, sample_ids=ids_of(3), noise=noise, **KEY)
    assert torch.equal(x_t, (x.float() + noise.float() / 2).bfloat16())


def test_one_sample_is_the_same_in_any_batch() -> None:
    x, signal, sigma = random((6, 3, 5, 7)), torch.rand(6), torch.rand(6)
    output, ids = random((6, 3, 5, 7), seed=1), ids_of(6)
    row = Row(t=0, x0_from_x=1.1, x0_from_output=-0.7, c_x=0.3, c_x0=0.6, c_noise=0.2)
    one = slice(4, 5)
    x_t = ops.add_noise(x, signal, sigma, sample_ids=ids, **KEY)
    assert torch.equal(ops.add_noise(x[one], signal[one], sigma[one], sample_ids=ids[one], **KEY), x_t[one])
    x_next, m = ops.reverse_step(x, output, row, clip=1.0, sample_ids=ids, **KEY)
    alone, m_alone = ops.reverse_step(x[one], output[one], row, clip=1.0, sample_ids=ids[one], **KEY)
    assert torch.equal(alone, x_next[one])
    assert torch.equal(m_alone, m[one])
    loss = ops.weighted_loss(output, x, signal, sigma, sigma, sample_ids=ids, **KEY)
    assert torch.allclose(
        ops.weighted_loss(
            output[one], x[one], signal[one], sigma[one], sigma[one], sample_ids=ids[one], **KEY
        ),
        loss[one],
    )


# Layouts and memory


@pytest.mark.parametrize("layout", ["channels last", "transposed", "batch last", "strided", "expanded"])
def test_layout_changes_no_value(layout: str) -> None:
    """Each input in another layout while the others are contiguous: elements are counted in logical order."""
    x, output, past, ids = (
        random((3, 4, 5, 6)),
        random((3, 4, 5, 6), seed=1),
        random((3, 4, 5, 6), seed=2),
        ids_of(3),
    )
    x_, output_, past_ = (layouts(t)[layout] for t in (x, output, past))
    if layout == "expanded":
        x, output, past = (t.contiguous() for t in (x_, output_, past_))
    v = torch.rand(3, 2)[:, 0]
    row = Row(
        t=0,
        x0_from_x=1.1,
        x0_from_output=-0.7,
        c_x=0.3,
        c_x0=0.6,
        c_anchor=0.1,
        c_history=(0.3,),
        c_noise=0.2,
        m_x=0.5,
    )
    assert torch.equal(
        ops.add_noise(x_, v, v, sample_ids=ids, **KEY), ops.add_noise(x, v, v, sample_ids=ids, **KEY)
    )
    given = ops.add_noise(x, v, v, noise=output_, sample_ids=ids, **KEY)
    assert torch.equal(given, ops.add_noise(x, v, v, noise=output, sample_ids=ids, **KEY))
    plain = ops.reverse_step(x, output, row, history=[past], anchor=past, clip=1.0, sample_ids=ids, **KEY)
    mixed = ops.reverse_step(x, output_, row, history=[past_], anchor=past, clip=1.0, sample_ids=ids, **KEY)
    other = ops.reverse_step(x_, output, row, history=[past], anchor=past_, clip=1.0, sample_ids=ids, **KEY)
    for result in (mixed, other):
        assert torch.equal(result[0], plain[0])
        assert torch.equal(result[1], plain[1])
    loss = ops.weighted_loss(output, x, v, v, v, sample_ids=ids, **KEY)
    torch.testing.assert_close(ops.weighted_loss(output_, x_, v, v, v, sample_ids=ids, **KEY), loss)


def test_results_keep_channels_last() -> None:
    """channels_last in, channels_last out: convolutions continue in that layout."""
    x = random((3, 4, 5, 6)).contiguous(memory_format=torch.channels_last)
    ones = torch.ones(3)
    row = Row(t=0, x0_from_x=1.0, x0_from_output=-0.7, c_x=0.3, c_x0=0.6, c_noise=0.2)
    x_next, m = ops.reverse_step(x, x, row, sample_ids=ids_of(3), **KEY)
    for result in (ops.add_noise(x, ones, ones, sample_ids=ids_of(3), **KEY), x_next, m):
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("layout", ["channels last", "strided"])
def test_out_receives_the_result_and_may_be_x(dtype: torch.dtype, layout: str) -> None:
    x, output, ids, v = (
        random((3, 4, 5, 6), dtype),
        random((3, 4, 5, 6), dtype, seed=1),
        ids_of(3),
        torch.rand(3),
    )
    row = Row(t=0, x0_from_x=1.1, x0_from_output=-0.7, c_x=0.3, c_x0=0.6, c_noise=0.2, m_x=0.5)
    x_t = ops.add_noise(x, v, v, sample_ids=ids, **KEY)
    x_next, m = ops.reverse_step(x, output, row, sample_ids=ids, **KEY)
    for out in (torch.full_like(x, 9), layouts(torch.full_like(x, 9))[layout]):
        assert ops.add_noise(x, v, v, sample_ids=ids, out=out, **KEY) is out
        assert torch.equal(out, x_t)
        assert ops.reverse_step(x, output, row, sample_ids=ids, out=out, **KEY)[0] is out
        assert torch.equal(out, x_next)
    again = layouts(x)[layout].clone()
    assert torch.equal(ops.add_noise(again, v, v, sample_ids=ids, out=again, **KEY), x_t)
    again = layouts(x)[layout].clone()
    written, m_again = ops.reverse_step(again, output, row, sample_ids=ids, out=again, **KEY)
    assert written is again
    assert torch.equal(again, x_next)
    assert torch.equal(m_again, m)


@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_inputs_are_not_changed_nor_returned(dtype: torch.dtype) -> None:
    """Also for rows whose coefficients make x' or m a copy of an input."""
    x, output, past, anchor = (random((3, 40), dtype, seed=i) for i in range(4))
    ids, v, clip, noise = ids_of(3), torch.ones(3), torch.full((3,), 0.5), random((3, 40), dtype, seed=5)
    inputs = [x, output, past, anchor, ids, v, clip, noise]
    copies = [t.clone() for t in inputs]
    results = [ops.add_noise(x, v, 0 * v, sample_ids=ids, noise=noise, **KEY)]
    for row in (
        Row(t=0, x0_from_x=1, x0_from_output=0, c_x=1, c_x0=0, m_x=1, m_x0=0),
        Row(t=0, x0_from_x=0, x0_from_output=1, c_x=0, c_x0=1),
        Row(
            t=0,
            x0_from_x=0.5,
            x0_from_output=1,
            c_x=0.2,
            c_x0=1,
            c_anchor=0.4,
            c_history=(2.0,),
            c_noise=0.3,
            m_x=0.2,
        ),
        Row(t=0, x0_from_x=0, x0_from_output=0, c_x=0, c_x0=0, c_anchor=1, m_x0=0),
    ):
        for bound in (None, clip):
            results += ops.reverse_step(
                x, output, row, history=[past], anchor=anchor, clip=bound, noise=noise, sample_ids=ids, **KEY
            )
    ops.weighted_loss(output, x, v, v, v, sample_ids=ids, noise=noise, **KEY)
    for result in results:
        result.fill_(7)
    assert all(torch.equal(t, copy) for t, copy in zip(inputs, copies, strict=True))


# weighted_loss


def plain_norm(r: Tensor, norm: str, delta: float) -> Tensor:
    if norm == "l1":
        return r.abs()
    if norm == "l2":
        return r**2
    return torch.where(r.abs() <= delta, r**2 / 2, delta * (r.abs() - delta / 2))


def plain_loss(
    output: Tensor, x: Tensor, v: tuple[Tensor, Tensor, Tensor], noise: Tensor, norm: str, delta: float
) -> Tensor:
    """The documented formula in float64."""
    r = output.double() - (wide(v[0], x) * x.double() + wide(v[1], x) * noise.double())
    return v[2].double() * plain_norm(r, norm, delta).reshape(len(x), -1).mean(1)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0]])
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize(("norm", "delta"), [("l1", 1.0), ("l2", 1.0), ("huber", 1.0), ("huber", 0.1)])
def test_loss_and_gradient_are_those_of_the_formula(
    shape: tuple[int, ...], dtype: torch.dtype, norm: str, delta: float
) -> None:
    """Compared with autograd of the float64 formula, with a different upstream gradient for each sample."""
    x, output = random(shape), random(shape, dtype, seed=1).requires_grad_()
    v = (torch.randn(shape[0]), torch.randn(shape[0]), torch.rand(shape[0]) * 3)
    upstream = torch.randn(shape[0])
    loss = ops.weighted_loss(output, x, *v, norm=norm, delta=delta, sample_ids=ids_of(shape[0]), **KEY)
    assert loss.dtype == torch.float32
    assert loss.shape == shape[:1]
    loss.backward(upstream)
    exact = output.detach().double().requires_grad_()
    expected = plain_loss(exact, x, v, epsilon(x), norm, delta)
    expected.backward(upstream.double())
    torch.testing.assert_close(loss.detach().double(), expected.detach(), rtol=3e-6, atol=1e-6)
    assert output.grad is not None
    assert exact.grad is not None
    assert output.grad.dtype == dtype
    precision = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float64: 1e-7}[dtype]
    size = (upstream * v[2]).abs().amax() * 5 / x[0].numel()
    torch.testing.assert_close(output.grad.double(), exact.grad, rtol=precision, atol=float(size) * precision)


def test_huber_is_torch_smooth_l1_at_delta_1() -> None:
    output, x, ones = random((4, 3, 8)) * 3, random((4, 3, 8), seed=1), torch.ones(4)
    loss = ops.weighted_loss(output, x, ones, 0 * ones, ones, norm="huber", sample_ids=ids_of(4), **KEY)
    torch.testing.assert_close(
        loss, torch.nn.functional.smooth_l1_loss(output, x, reduction="none").mean((1, 2))
    )


@pytest.mark.parametrize("output_dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("x_dtype", DTYPES, ids=NAMES)
def test_loss_takes_output_and_x_start_of_any_two_dtypes(
    output_dtype: torch.dtype, x_dtype: torch.dtype
) -> None:
    """The residual is computed in float32 or better: only its inputs are rounded to bfloat16."""
    output, x = random((3, 200), output_dtype), random((3, 200), x_dtype, seed=1)
    noise = random((3, 200), x_dtype, seed=2)
    v = (torch.tensor([0.9, 0.5, -0.1]), torch.tensor([0.1, -0.5, 0.9]), torch.tensor([1.0, 2.0, 0.0]))
    loss = ops.weighted_loss(output, x, *v, noise=noise, sample_ids=ids_of(3), **KEY)
    torch.testing.assert_close(loss.double(), plain_loss(output, x, v, noise, "l2", 1.0), rtol=2e-6, atol=0)


def test_loss_of_float64_output_is_made_in_float64() -> None:
    """The gradient has float64 precision."""
    output = random((2, 50), torch.float64).requires_grad_()
    x, noise = random((2, 50), torch.float64, 1), random((2, 50), torch.float64, 2)
    v = [random((2,), torch.float64, seed) for seed in (3, 4, 5)]
    ops.weighted_loss(output, x, v[0], v[1], v[2], noise=noise, sample_ids=ids_of(2), **KEY).sum().backward()
    expected = 2 * v[2][:, None] / 50 * (output.detach() - v[0][:, None] * x - v[1][:, None] * noise)
    assert output.grad is not None
    torch.testing.assert_close(output.grad, expected, rtol=1e-13, atol=1e-15)


def test_only_the_output_gets_a_gradient() -> None:
    tensors = {
        name: random((2, 5), seed=i).requires_grad_() for i, name in enumerate(("output", "x_start", "noise"))
    }
    vectors = {
        name: random((2,), seed=i).requires_grad_()
        for i, name in enumerate(("target_x", "target_eps", "weight"))
    }
    ops.weighted_loss(**tensors, **vectors, sample_ids=ids_of(2), **KEY).sum().backward()
    assert [name for name, t in {**tensors, **vectors}.items() if t.grad is not None] == ["output"]
    without = ops.weighted_loss(
        **{**tensors, **vectors, "output": random((2, 5))}, sample_ids=ids_of(2), **KEY
    )
    assert not without.requires_grad


def test_backward_runs_again_on_a_kept_graph() -> None:
    output, ones = random((2, 5)).requires_grad_(), torch.ones(2)
    loss = ops.weighted_loss(
        output, random((2, 5), seed=1), ones, ones, ones, sample_ids=ids_of(2), **KEY
    ).sum()
    (first,) = torch.autograd.grad(loss, output, retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(3 * loss, output)
    torch.testing.assert_close(second, 3 * first)


def test_autocast_changes_nothing() -> None:
    output, x, ones, ids = random((2, 30)), random((2, 30), seed=1), torch.ones(2), ids_of(2)
    row = Row(t=0, x0_from_x=1.1, x0_from_output=-0.7, c_x=0.3, c_x0=0.6, c_noise=0.2)

    def everything() -> list[Tensor]:
        losses = [
            ops.weighted_loss(output, x, ones, ones, ones, norm=norm, sample_ids=ids, **KEY)
            for norm in ops.NORMS
        ]
        return [
            *losses,
            ops.add_noise(x, ones, ones, sample_ids=ids, **KEY),
            *ops.reverse_step(x, output, row, sample_ids=ids, **KEY),
        ]

    plain = everything()
    with torch.autocast("cpu", torch.bfloat16):
        cast = everything()
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


# reverse_step


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
@pytest.mark.parametrize("clip", [None, 0.6, "each"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 6, 6), (0, 4), (3,)])
def test_reverse_step_is_its_formula(
    row: Row, dtype: torch.dtype, clip: float | str | None, shape: tuple[int, ...]
) -> None:
    x, output, anchor, *history = (random(shape, dtype, seed) for seed in range(6))
    bound: float | Tensor | None = torch.linspace(0.2, 1.5, shape[0]) if isinstance(clip, str) else clip
    x_next, m = ops.reverse_step(
        x, output, row, history=history, anchor=anchor, clip=bound, sample_ids=ids_of(shape[0]), **KEY
    )
    x0 = row.x0_from_x * x.double() + row.x0_from_output * output.double()
    # the rounding error of x0 remains where x0 is not clipped
    size = abs(row.x0_from_x) * x.double().abs() + abs(row.x0_from_output) * output.double().abs()
    if bound is not None:
        limit = wide(bound, x) if isinstance(bound, Tensor) else torch.tensor(bound, dtype=torch.float64)
        x0 = torch.maximum(torch.minimum(x0, limit), -limit)
    terms = [row.c_x * x.double(), row.c_x0 * x0, row.c_anchor * anchor.double(), row.c_noise * epsilon(x)]
    terms += [c * past.double() for c, past in zip(row.c_history, history, strict=False)]
    slack = 0 if dtype == torch.float64 else 3e-7  # for bfloat16, x0 and the sums are float32 too
    expected, m_expected = sum(terms, torch.zeros_like(x0)), row.m_x * x.double() + row.m_x0 * x0
    total = sum((term.abs() for term in terms), torch.zeros_like(x0))
    close(
        x_next,
        expected,
        (expected.abs() if dtype == torch.bfloat16 else total) + (total + size) * slack / TOLERANCE[dtype],
        dtype,
    )
    m_total = abs(row.m_x) * x.double().abs() + abs(row.m_x0) * (x0.abs() + size)
    close(
        m,
        m_expected,
        (m_expected.abs() if dtype == torch.bfloat16 else m_total) + m_total * slack / TOLERANCE[dtype],
        dtype,
    )


def test_reverse_step_sums_from_the_left_in_float32() -> None:
    """Bit for bit, from float64 with each operation rounded and the coefficients rounded to float32 first."""
    row = ROWS["all"]
    x, output, anchor, *history = (random((9, 1000), seed=seed) for seed in range(6))

    def rounded(value: Tensor) -> Tensor:
        return value.float().double()

    def total(*terms: tuple[float, Tensor]) -> Tensor:
        result: Tensor | None = None
        for c, t in terms:
            term = rounded(rounded(torch.tensor(c, dtype=torch.float64)) * t.double())
            result = term if result is None else rounded(result + term)
        assert result is not None
        return result

    x0 = total((row.x0_from_x, x), (row.x0_from_output, output))
    limit = rounded(torch.tensor(0.9, dtype=torch.float64))
    x0 = torch.maximum(torch.minimum(x0, limit), -limit)
    pasts = zip(row.c_history, history, strict=True)
    expected = total((row.c_x, x), (row.c_x0, x0), (row.c_anchor, anchor), *pasts, (row.c_noise, epsilon(x)))
    x_next, m = ops.reverse_step(
        x, output, row, history=history, anchor=anchor, clip=0.9, sample_ids=ids_of(9), **KEY
    )
    assert torch.equal(x_next.double(), expected)
    assert torch.equal(m.double(), total((row.m_x, x), (row.m_x0, x0)))


def test_a_term_with_coefficient_0_is_not_computed() -> None:
    """A zero coefficient hides infinities and NaN, and its tensor may be missing."""
    x, bad = random((2, 6)), torch.full((2, 6), float("nan"))
    row = Row(t=0, x0_from_x=1, x0_from_output=0, c_x=0.5, c_x0=0.5, c_history=(0.0, 0.0))
    for extra in ({"history": [bad, bad], "anchor": bad, "noise": bad}, {}):
        key = {"sample_ids": ids_of(2), **KEY}
        x_next, m = ops.reverse_step(x, bad, row, **key, **extra)  # type: ignore[arg-type]
        assert torch.equal(x_next, x)
        assert torch.equal(m, x)


def test_a_network_that_fails_is_seen() -> None:
    """Clipping keeps NaN."""
    x, bad = random((2, 6)), torch.full((2, 6), float("nan"))
    row = Row(t=0, x0_from_x=1, x0_from_output=1, c_x=0, c_x0=1)
    for clip in (1.0, torch.ones(2)):
        assert ops.reverse_step(x, bad, row, clip=clip, sample_ids=ids_of(2), **KEY)[0].isnan().all()


@pytest.mark.parametrize("output_dtype", DTYPES[:2], ids=NAMES[:2])
@pytest.mark.parametrize("x_dtype", DTYPES, ids=NAMES)
def test_output_may_have_another_dtype(x_dtype: torch.dtype, output_dtype: torch.dtype) -> None:
    x, output = random((3, 40), x_dtype), random((3, 40), output_dtype, seed=1)
    row = ROWS["ddpm"]
    x_next, m = ops.reverse_step(x, output, row, sample_ids=ids_of(3), **KEY)
    same, m_same = ops.reverse_step(x.double(), output.double(), row, sample_ids=ids_of(3), **KEY)
    assert x_next.dtype == m.dtype == x_dtype
    precision = 2**-8 if x_dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(x_next.double(), same, rtol=precision, atol=1e-6)
    torch.testing.assert_close(m.double(), m_same, rtol=precision, atol=1e-6)


# Arguments


def good(op: str) -> dict[str, Any]:
    """Valid arguments, with every optional tensor."""
    x, v = random((3, 2, 4)), torch.rand(3)
    common: dict[str, Any] = {"sample_ids": ids_of(3), "noise": random((3, 2, 4), seed=1), **KEY}
    if op == "normal":
        return {"sample_ids": ids_of(3), **KEY, "shape": (2, 4)}
    if op in ("uniform", "bits"):
        return {"sample_ids": ids_of(3), **KEY}
    if op == "add_noise":
        return {"x_start": x, "signal": v, "sigma": v, "out": x.clone(), **common}
    if op == "weighted_loss":
        return {
            "output": x,
            "x_start": x.clone(),
            "target_x": v,
            "target_eps": v,
            "weight": v,
            "norm": "huber",
            "delta": 1.0,
            **common,
        }
    return {
        "x": x,
        "output": x.clone(),
        "row": ROWS["all"],
        "history": [x, x, x],
        "anchor": x,
        "clip": v,
        "out": x.clone(),
        **common,
    }


def call(op: str, **changes: Any) -> object:
    return getattr(ops, op)(**{**good(op), **changes})


OPS = ("normal", "uniform", "bits", "add_noise", "weighted_loss", "reverse_step")
BATCHED = {
    "add_noise": ["x_start", "noise", "out"],
    "weighted_loss": ["output", "x_start", "noise"],
    "reverse_step": ["x", "output", "anchor", "noise", "out"],
}
VECTORS = {
    "add_noise": ["signal", "sigma"],
    "weighted_loss": ["target_x", "target_eps", "weight"],
    "reverse_step": ["clip"],
}
EACH_BATCHED = [(op, name) for op, names in BATCHED.items() for name in names]
EACH_VECTOR = [(op, name) for op, names in VECTORS.items() for name in names]


@pytest.mark.parametrize("op", OPS)
def test_good_arguments_pass(op: str) -> None:
    call(op)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("seed", 1.0, TypeError),
        ("seed", True, TypeError),
        ("seed", 2**64, ValueError),
        ("seed", -(2**63) - 1, ValueError),
        ("stream", "noise", TypeError),
        ("stream", -1, ValueError),
        ("stream", 2**32, ValueError),
        ("sample_ids", [1, 2, 3], TypeError),
        ("sample_ids", torch.arange(3, dtype=torch.int32), TypeError),
        ("sample_ids", torch.rand(3), TypeError),
        ("sample_ids", torch.zeros(3, 1, dtype=torch.int64), ValueError),
        ("sample_ids", torch.tensor(3), ValueError),
        ("sample_ids", torch.tensor([0, -1, 2]), ValueError),
    ],
)
def test_a_wrong_key_is_named(op: str, name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^{name} should"):
        call(op, **{name: value})


@pytest.mark.parametrize(("op", "name"), EACH_BATCHED)
def test_a_wrong_tensor_is_named(op: str, name: str) -> None:
    first = next(iter(good(op)))
    for value in ([1.0], torch.zeros(3, 2, 4, dtype=torch.int64), torch.zeros(3, 2, 4, dtype=torch.float16)):
        with pytest.raises(TypeError, match=rf"^{name} should be"):
            call(op, **{name: value})
    if name == first:
        with pytest.raises(ValueError, match=rf"^{name} should have shape"):
            call(op, **{name: torch.tensor(1.0)})
        return
    for value in (torch.zeros(3, 2, 5), torch.zeros(2, 2, 4), torch.zeros(3, 8), torch.zeros(1, 2, 4)):
        with pytest.raises(ValueError, match=rf"^{name} should have shape \[3, 2, 4\]"):
            call(op, **{name: value})
    with pytest.raises(ValueError, match=rf"^{name} should be on cpu, where \w+ is, not on meta"):
        call(op, **{name: torch.zeros(3, 2, 4, device="meta")})


@pytest.mark.parametrize(("op", "name"), EACH_VECTOR)
def test_a_wrong_vector_is_named(op: str, name: str) -> None:
    for value in (torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.bfloat16), "0.5"):
        with pytest.raises(TypeError, match=rf"^{name} should be"):
            call(op, **{name: value})
    for value in (torch.zeros(2), torch.zeros(3, 1), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=rf"^{name} should have shape \[3\]"):
            call(op, **{name: value})
    with pytest.raises(ValueError, match=rf"^{name} should be on cpu"):
        call(op, **{name: torch.zeros(3, device="meta")})


@pytest.mark.parametrize("op", BATCHED)
def test_ids_match_the_batch(op: str) -> None:
    with pytest.raises(ValueError, match=r"^sample_ids should have shape \[3\]"):
        call(op, sample_ids=ids_of(4))
    with pytest.raises(ValueError, match="^sample_ids should be on cpu"):
        call(op, sample_ids=ids_of(3).to("meta"))


def test_noise_of_a_third_dtype_is_refused() -> None:
    for op in BATCHED:
        with pytest.raises(TypeError, match="^noise should be float32, not bfloat16"):
            call(op, noise=random((3, 2, 4), torch.bfloat16))


def test_out_is_like_x_and_has_an_element_for_each_place() -> None:
    for op in ("add_noise", "reverse_step"):
        with pytest.raises(TypeError, match="^out should be float32, not bfloat16"):
            call(op, out=torch.zeros(3, 2, 4, dtype=torch.bfloat16))
        with pytest.raises(ValueError, match="^out has elements that share memory"):
            call(op, out=torch.zeros(3, 1, 4).expand(3, 2, 4))


@pytest.mark.parametrize(
    ("op", "changes", "error", "message"),
    [
        ("normal", {"shape": (2, -1)}, ValueError, r"^shape should be from 0"),
        ("normal", {"shape": (2.0,)}, TypeError, r"^shape should be an int"),
        ("normal", {"shape": 3}, TypeError, r"^shape should be a sequence"),
        ("normal", {"shape": (2**20, 2**20)}, ValueError, r"^shape should have at most 2\*\*34 elements"),
        ("weighted_loss", {"norm": "l3"}, ValueError, r"^norm should be one of l1, l2, huber, not 'l3'"),
        ("weighted_loss", {"delta": 0.0}, ValueError, r"^delta should be a finite number above 0"),
        ("weighted_loss", {"delta": float("inf")}, ValueError, r"^delta should be"),
        ("weighted_loss", {"delta": "1"}, TypeError, r"^delta should be a number"),
        ("reverse_step", {"row": None}, TypeError, r"^row should be a ddpmx\.Row"),
        ("reverse_step", {"clip": 0.0}, ValueError, r"^clip should be"),
        ("reverse_step", {"clip": float("nan")}, ValueError, r"^clip should be"),
        ("reverse_step", {"clip": True}, TypeError, r"^clip should be"),
        ("reverse_step", {"anchor": None}, ValueError, r"^anchor is missing"),
        ("reverse_step", {"history": ()}, ValueError, r"^history has 0 tensors, but row.c_history has 3"),
        (
            "reverse_step",
            {"history": [torch.zeros(3, 2, 4), torch.zeros(3, 2, 5)]},
            ValueError,
            r"^history\[1\] should have shape",
        ),
        (
            "reverse_step",
            {"history": [torch.zeros(3, 2, 4).double()]},
            TypeError,
            r"^history\[0\] should be float32",
        ),
        ("stream", {"purpose": 256, "step": 0}, ValueError, r"^purpose should be from 0 to 255"),
        ("stream", {"purpose": 0, "step": 2**24}, ValueError, r"^step should be from 0 to 16777215"),
        ("stream", {"purpose": 0, "step": -1}, ValueError, r"^step should be"),
        ("stream", {"purpose": 0, "step": 1.0}, TypeError, r"^step should be an int"),
    ],
)
def test_other_wrong_arguments_are_named(
    op: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    function = ops.stream if op == "stream" else partial(call, op)
    with pytest.raises(error, match=message):
        function(**changes)


def test_a_loss_over_no_elements_is_refused() -> None:
    empty, ones = torch.zeros(3, 0), torch.ones(3)
    with pytest.raises(ValueError, match="^output should have an element in each sample"):
        ops.weighted_loss(empty, empty, ones, ones, ones, sample_ids=ids_of(3), **KEY)


def test_float64_takes_float64_vectors() -> None:
    """And use their precision."""
    x, v = random((3, 5), torch.float64), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    x_t = ops.add_noise(x, v, v, sample_ids=ids_of(3), **KEY)
    assert torch.equal(x_t, v[:, None] * x + v[:, None] * epsilon(x))


# Gradients are not dropped


@pytest.mark.parametrize(
    ("op", "name"),
    [pair for pair in EACH_BATCHED + EACH_VECTOR if pair[0] != "weighted_loss"]
    + [("reverse_step", "history")],
)
def test_ops_without_a_gradient_say_so(op: str, name: str) -> None:
    value = good(op)[name]
    first = value[0].clone().requires_grad_() if name == "history" else value.clone().requires_grad_()
    changes = {name: [first, *value[1:]] if name == "history" else first}
    named = "history\\[0\\]" if name == "history" else name
    with pytest.raises(
        RuntimeError,
        match=rf"{op} passes no gradient on, and {named} requires one: call it under torch.no_grad",
    ):
        call(op, **changes)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            call(op, **changes)
