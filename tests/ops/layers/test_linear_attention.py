"""Linear attention between two norms, in one kernel, compared with its plain form in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cpu_levels import needs_library
from torch import Tensor

from ddpmx import ops
from ddpmx.ops.layers import fuses_linear_attention, in_torch, kernels

EPSILON = 1e-5
SHAPES = [
    (3, 28, 14, 15, 4, 32),
    (2, 112, 7, 7, 4, 32),
    (9, 7, 5, 5, 3, 5),
    (17, 33, 2, 2, 2, 16),
    (3, 16, 1, 1, 4, 32),
    (2, 30, 9, 15, 1, 1),
]
"""(images, channels, height, width, heads, features of a head), with partial vectors, blocks and parts."""

Attention = Callable[[Tensor, ops.AttentionParameters], Tensor]


def tensors(shape: tuple[int, ...], spread: float = 1.0) -> tuple[list[Tensor], Tensor]:
    """x, then q, k, v, out, bias, and gamma and beta of both norms; and a gradient of the result.

    `spread` multiplies the logits of both softmaxes.
    """
    n, c, h, w, heads, d = shape
    generator = torch.Generator().manual_seed(sum(shape))

    def randn(*size: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(size, generator=generator)

    f = heads * d
    q, k = (randn(f, c, scale=spread / c**0.5) for _ in range(2))
    weights = [q, k, randn(f, c, scale=c**-0.5), randn(c, f, scale=f**-0.5), randn(c)]
    x, g = (randn(n, c, h, w).contiguous(memory_format=torch.channels_last) for _ in range(2))
    return [x, *weights, *(randn(c) for _ in range(4))], g


def parameters(heads: int, values: list[Tensor]) -> ops.AttentionParameters:
    q, k, v, out, bias, gamma_in, beta_in, gamma_out, beta_out = values
    norms = ((gamma_in, beta_in), (gamma_out, beta_out))
    return ops.AttentionParameters(heads, q, k, v, out, bias, *norms, EPSILON)


def plain(x: Tensor, w: ops.AttentionParameters) -> Tensor:
    """The published form, with values v at each position."""

    def norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + EPSILON).sqrt() * gamma[:, None, None] + beta[:, None, None]

    n = norm(x, *w.norm_in)
    q, k, v = (
        torch.einsum("oc,nchw->nohw", weight, n).flatten(2).unflatten(1, (w.heads, -1))
        for weight in (w.q, w.k, w.v)
    )
    q = q.softmax(dim=2) / q.shape[2] ** 0.5
    context = torch.einsum("nhdp,nhep->nhde", k.softmax(dim=3), v)
    y = torch.einsum("nhde,nhdp->nhep", context, q).flatten(1, 2)
    y = torch.einsum("co,nop->ncp", w.out, y).unflatten(2, x.shape[2:]) + w.bias[:, None, None]
    return x + norm(y, *w.norm_out)


def run(attention: Attention, heads: int, values: list[Tensor], g: Tensor) -> list[Tensor]:
    """The result, then the gradients of all `values`."""
    values = [value.detach().clone().requires_grad_() for value in values]
    y = attention(values[0], parameters(heads, values[1:]))
    return [y.detach(), *torch.autograd.grad(y, values, g)]


def in_double(heads: int, values: list[Tensor], g: Tensor) -> list[Tensor]:
    return run(plain, heads, [value.double() for value in values], g.double())


def are_as_exact(heads: int, values: list[Tensor], g: Tensor) -> bool:
    """Whether the errors of the result and of all gradients are as small as those of the plain form."""
    exact = in_double(heads, values, g)
    ours, theirs = run(ops.add_linear_attention, heads, values, g), run(plain, heads, values, g)
    return all(
        float((mine - truth).norm()) <= 8 * float((other - truth).norm()) + 2e-6 * float(truth.norm())
        for mine, other, truth in zip(ours, theirs, exact, strict=True)
    )


def uses_kernel(shape: tuple[int, ...], values: list[Tensor]) -> bool:
    values = [value.clone().requires_grad_() for value in values]
    y = ops.add_linear_attention(values[0], parameters(shape[4], values[1:]))
    return type(y.grad_fn).__name__ == "_LinearAttentionBackward"


@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_and_its_gradients_are_as_exact_as_the_plain_form(
    level: str, shape: tuple[int, ...], spread: float
) -> None:
    values, g = tensors(shape, spread)
    assert uses_kernel(shape, values)
    assert are_as_exact(shape[4], values, g)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_constant_images_give_what_the_formula_says(level: str, value: float) -> None:
    """The first norm's variance is 0 then, and all positions are alike, so k's softmax is uniform."""
    shape = SHAPES[0]
    values, g = tensors(shape)
    values[0] = torch.full_like(values[0], value)
    for mine, truth in zip(
        run(ops.add_linear_attention, shape[4], values, g), in_double(shape[4], values, g), strict=True
    ):
        torch.testing.assert_close(
            mine.double(), truth, rtol=1e-4, atol=1e-4 * float(truth.abs().max().clamp(min=1))
        )


def test_logits_up_to_plus_and_minus_80_lose_no_digits(level: str) -> None:
    """A channel's gamma is 0 and its beta 1, so the weights there are added to the logits everywhere."""
    shape = (2, 16, 6, 6, 2, 8)
    values, g = tensors(shape)
    values[6][0], values[7][0] = 0.0, 1.0
    values[1][:, 0], values[2][:, 0] = torch.linspace(-80, 80, 16), torch.linspace(80, -80, 16)
    assert are_as_exact(shape[4], values, g)


@needs_library
def test_all_numbers_of_threads_give_the_same_bits() -> None:
    shape = (19, 21, 9, 10, 3, 8)
    (values, g), results, threads = tensors(shape), [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(ops.add_linear_attention, shape[4], values, g))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@needs_library
def test_an_images_result_and_gradient_do_not_depend_on_the_others() -> None:
    shape = (13, 28, 7, 7, 4, 32)
    values, g = tensors(shape)
    y, grad_x, *_ = run(ops.add_linear_attention, shape[4], values, g)
    for part in (slice(3, 12), slice(12, 13)):
        some = [values[0][part], *values[1:]]
        y_part, grad_x_part, *_ = run(ops.add_linear_attention, shape[4], some, g[part])
        assert torch.equal(y_part, y[part])
        assert torch.equal(grad_x_part, grad_x[part])


@needs_library
def test_any_layout_gives_the_same_bits() -> None:
    shape = SHAPES[0]
    values, g = tensors(shape)
    usual = run(ops.add_linear_attention, shape[4], values, g)
    x, q, *others = values
    x, q = x.contiguous(), q.t().contiguous().t()
    assert uses_kernel(shape, [x, q, *others])
    y = ops.add_linear_attention(x.requires_grad_(), parameters(shape[4], [q, *others]))
    (grad_x,) = torch.autograd.grad(y, x, g.contiguous())
    assert torch.equal(y, usual[0])
    assert torch.equal(grad_x, usual[1])


@needs_library
def test_only_x_and_the_weights_are_kept_for_the_backward_pass() -> None:
    shape = SHAPES[0]
    values, _ = tensors(shape)
    kept: list[Tensor] = []
    values = [value.requires_grad_() for value in values]
    with torch.autograd.graph.saved_tensors_hooks(
        lambda value: kept.append(value) or value, lambda value: value
    ):
        ops.add_linear_attention(values[0], parameters(shape[4], values[1:]))
    weights = sum(value.numel() for value in values[1:])
    large = [value for value in kept if value.numel() >= values[0].numel()]
    assert [value.data_ptr() for value in large] == [values[0].data_ptr()]
    assert sum(value.numel() for value in kept) < values[0].numel() + 4 * weights


@needs_library
def test_what_is_not_finite_stays_in_its_image() -> None:
    shape = (3, 16, 5, 5, 2, 8)
    values, _ = tensors(shape)
    values[0][1, 3, 2, 2] = torch.nan
    y = ops.add_linear_attention(values[0], parameters(shape[4], values[1:]))
    assert y[1].isnan().all()
    assert y[[0, 2]].isfinite().all()


def test_what_the_kernel_does_not_take_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES[2]
    values, g = tensors(shape)
    double = [value.double() for value in values]
    assert not uses_kernel(shape, double)
    wide = (2, 33, 2, 2, 2, 8)
    assert not uses_kernel(wide, tensors(wide)[0])
    for mine, truth in zip(
        run(ops.add_linear_attention, shape[4], double, g.double()),
        in_double(shape[4], values, g),
        strict=True,
    ):
        torch.testing.assert_close(mine, truth, rtol=1e-9, atol=1e-11 * float(truth.abs().max()))
    x, w = values[0], parameters(shape[4], values[1:])
    with torch.autocast("cpu", torch.bfloat16):
        assert in_torch.linear_attention(x, w).dtype == torch.bfloat16
    with ops.use_backend("reference"):
        assert not fuses_linear_attention(x, w)
        torch.testing.assert_close(ops.add_linear_attention(x, w), plain(x, w), rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not fuses_linear_attention(x, w)


@needs_library
def test_a_second_derivative_is_an_error() -> None:
    shape = SHAPES[2]
    x, *others = (value.requires_grad_() for value in tensors(shape)[0])
    y = ops.add_linear_attention(x, parameters(shape[4], others))
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@needs_library
def test_no_images_and_wrong_tensors() -> None:
    shape = SHAPES[2]
    values, g = tensors(shape)
    y, grad_x, *gradients = run(ops.add_linear_attention, shape[4], [values[0][:0], *values[1:]], g[:0])
    assert y.shape == grad_x.shape == (0, *shape[1:4])
    assert not any(gradient.any() for gradient in gradients)
    x, w = values[0], parameters(shape[4], values[1:])
    weights = [*w.norm_in, w.q, w.k, w.mix().contiguous(), w.bias, *w.norm_out]
    kernels.linear_attention(x, weights, EPSILON)
    for index, wrong in [(0, w.q), (2, w.q[:-1]), (2, w.q.double()), (3, w.k[:, :-1]), (4, weights[4][:2])]:
        with pytest.raises(RuntimeError):
            kernels.linear_attention(x, [*weights[:index], wrong, *weights[index + 1 :]], EPSILON)
    with pytest.raises(RuntimeError):
        kernels.linear_attention(x, weights[:-1], EPSILON)
    with pytest.raises(RuntimeError):
        kernels.linear_attention(x.contiguous(), weights, EPSILON)
