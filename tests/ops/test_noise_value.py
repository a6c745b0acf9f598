"""`ddpmx.Noise` and the keywords `seed`, `stream`, `sample_ids` and `noise=tensor` have the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hot_math import BACKENDS, ROWS, ids_of, on_backend, random
from torch import Tensor

import ddpmx
from ddpmx import Noise, ops

SEED, STREAM = 2**64 - 5, ops.stream(ops.Purpose.SAMPLE, 3)


def calls(**noise: Any) -> dict[str, Callable[[], object]]:
    """A call of each op on a batch of three samples, with these keywords for its noise."""
    x, output = random((3, 2, 40)), random((3, 2, 40), seed=1)
    v, w = random((3,), seed=2), random((3,), seed=3)
    return {
        "add_noise": lambda: ops.add_noise(x, v, w, **noise),
        "weighted_loss": lambda: ops.weighted_loss(output, x, v, w, v, norm="huber", **noise),
        "reverse_step": lambda: ops.reverse_step(x, output, ROWS["ddpm"], clip=0.7, **noise),
    }


def draws(**noise: Any) -> dict[str, Callable[[], object]]:
    return {
        "normal": lambda: ops.normal(shape=(2, 5), **noise),
        "uniform": lambda: ops.uniform(**noise),
        "bits": lambda: ops.bits(**noise),
    }


def same(result: object, expected: object) -> bool:
    if isinstance(result, tuple) and isinstance(expected, tuple):
        return all(map(same, result, expected))
    assert isinstance(result, Tensor)
    assert isinstance(expected, Tensor)
    return torch.equal(result, expected)


@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_both_ways_give_the_same_bits(backend: str, given: bool) -> None:
    with on_backend(backend):
        ids, tensor = ids_of(3), random((3, 2, 40), seed=5) if given else None
        key: dict[str, Any] = {"seed": SEED, "stream": STREAM, "sample_ids": ids}
        by_value = calls(noise=Noise(SEED, STREAM, ids, tensor)) | draws(noise=Noise(SEED, STREAM, ids))
        by_keywords = calls(**key, noise=tensor) | draws(**key)
        assert all(same(call(), by_keywords[op]()) for op, call in by_value.items())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_needs_no_key(backend: str) -> None:
    with on_backend(backend):
        ids, tensor = ids_of(3), random((3, 2, 40), seed=5)
        keyed = calls(seed=SEED, stream=STREAM, sample_ids=ids, noise=tensor)
        assert all(same(call(), keyed[op]()) for op, call in calls(noise=tensor).items())


@pytest.mark.parametrize("op", calls())
def test_a_tensor_with_a_part_of_the_key_is_refused(op: str) -> None:
    with pytest.raises(TypeError, match="^stream should be an int, not NoneType"):
        calls(noise=random((3, 2, 40)), seed=SEED)[op]()
    with pytest.raises(ValueError, match=r"^noise should have shape \[3, 2, 40\]"):
        calls(noise=random((2, 2, 40)))[op]()


@pytest.mark.parametrize("op", [*calls(), *draws()])
@pytest.mark.parametrize("name", ["seed", "stream", "sample_ids"])
def test_a_key_that_is_missing_or_given_twice_is_named(op: str, name: str) -> None:
    key: dict[str, Any] = {"seed": SEED, "stream": STREAM, "sample_ids": ids_of(3)}
    lacking = {other: value for other, value in key.items() if other != name}
    for wrong in (lacking, {**key, name: None}):
        with pytest.raises(TypeError, match=f"^{name} should be an? (int|tensor), not NoneType"):
            (calls(**wrong) | draws(**wrong))[op]()
    both: dict[str, Any] = {"noise": Noise(**key), name: key[name]}
    with pytest.raises(TypeError, match=f"^{name} is given twice, as a keyword and in noise=Noise"):
        (calls(**both) | draws(**both))[op]()


@pytest.mark.parametrize("op", calls())
def test_a_wrong_field_is_named_as_the_keyword_is(op: str) -> None:
    fields: dict[str, Any] = {"seed": 1, "stream": 2, "sample_ids": ids_of(3)}
    wrong: list[tuple[str, object, type[Exception]]] = [
        ("seed", 1.0, TypeError),
        ("seed", 2**64, ValueError),
        ("stream", -1, ValueError),
        ("sample_ids", ids_of(4), ValueError),
        ("sample_ids", -ids_of(3), ValueError),
    ]
    for name, value, error in wrong:
        with pytest.raises(error, match=f"^{name} should"):
            calls(noise=Noise(**{**fields, name: value}))[op]()
    with pytest.raises(TypeError, match="^noise should be float32, not float16"):
        calls(noise=Noise(**fields, given=torch.zeros(3, 2, 40, dtype=torch.float16)))[op]()


def test_it_is_one_public_class_whose_fields_no_op_changes() -> None:
    ids, given = ids_of(3), random((3, 2, 40))
    noise = Noise(seed=2**63, stream=2, sample_ids=ids, given=given)
    assert ddpmx.Noise is ops.Noise
    assert Noise(1, 2, ids).given is None
    for call in calls(noise=noise).values():
        call()
    assert (noise.seed, noise.stream) == (2**63, 2)
    assert noise.sample_ids is ids
    assert noise.given is given


def test_compiled_code_makes_and_takes_it() -> None:
    """In one graph; a new seed needs no new compilation."""
    x, v, ids = random((3, 2, 5)), torch.rand(3), ids_of(3)

    def x_t(x: Tensor, seed: int) -> Tensor:
        return ops.add_noise(x, v, v, noise=Noise(seed, 7, ids))

    torch._dynamo.reset()
    compiled = torch.compile(x_t, fullgraph=True, backend="eager", dynamic=True)
    for seed in (5, 6, 7):
        with torch._dynamo.config.patch(error_on_recompile=seed == 7):
            assert torch.equal(compiled(x, seed), x_t(x, seed))
