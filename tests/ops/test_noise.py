"""The noise: Philox's published answers, independent formulas for layout and normals, statistics."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hot_math import BACKENDS, on_backend
from numpy.typing import NDArray
from scipy import stats

from ddpmx import ops
from ddpmx.ops import constants
from ddpmx.ops.philox import philox
from ddpmx.ops.reference import _cosine_sine, _radius

PINNED = ["-0x1.3dd3380000000p+0", "0x1.70be740000000p+0", "-0x1.67138a0000000p-1", "0x1.e28d720000000p+0"]
CHECKSUM = -8_823_319_645_233_306
IDS = (0, 1, 7, 2**31, 2**32 - 1, 2**32, 123_456_789_012_345_678, 2**63 - 1)
STREAM, SEED = 0xDEADBEEF, 0x0123456789ABCDEF


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test on every available backend."""
    with on_backend(request.param):
        yield request.param


# An independent generator, with Python integers and one counter at a time.
def scalar_philox(counter: tuple[int, int, int, int], key: int) -> list[int]:
    c, k = list(counter), [key % 2**32, key // 2**32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b // 2**32) ^ c[1] ^ k[0], b % 2**32, (a // 2**32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def word(element: int, sample_id: int, stream: int, seed: int) -> int:
    block, inside = divmod(element, 128)
    counter = (block * 32 + inside % 32, stream, sample_id % 2**32, sample_id // 2**32)
    return scalar_philox(counter, seed % 2**64)[inside // 32]


def float64_normal(element: int, sample_id: int, stream: int, seed: int) -> float:
    """Box and Muller in float64. Elements 0…31 and 64…95 of a block are cosines, the next 32 their sines."""
    partner = element % 64 >= 32
    first = element - 32 if partner else element
    u = (word(first, sample_id, stream, seed) // 2 + 0.5) / 2**31
    quadrant, inside = divmod(word(first + 32, sample_id, stream, seed), 2**30)
    angle = math.pi / 2 * (quadrant + (inside - 2**29 + 0.5) / 2**30)
    return math.sqrt(-2 * math.log(u)) * (math.sin(angle) if partner else math.cos(angle))


def draws(
    batch: int, elements: int, *, stream: int = 5, seed: int = 1, first: int = 0
) -> NDArray[np.float64]:
    return ops.normal(torch.arange(first, first + batch), stream, seed, (elements,)).double().cpu().numpy()


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: str
) -> None:
    """Random123's known-answer file, philox4x32-10."""
    joined = key[0] | key[1] << 32
    words = philox(*(torch.tensor([c]) for c in counter), joined)
    assert " ".join(f"{int(w):08x}" for w in words) == expected
    assert " ".join(f"{w:08x}" for w in scalar_philox(counter, joined)) == expected


def test_philox_equals_integer_arithmetic_on_random_counters() -> None:
    rng = np.random.default_rng(0)
    counters = rng.integers(0, 2**32, (200, 4))
    key = int(rng.integers(0, 2**63)) * 2 + 1
    words = torch.stack(philox(*torch.from_numpy(counters).T, key), dim=1)
    assert words.tolist() == [scalar_philox(tuple(row), key) for row in counters.tolist()]


@pytest.mark.parametrize("seed", [SEED, -1, -(2**63), 2**64 - 1, 0])
def test_layout_and_values_follow_float64_box_muller(seed: int) -> None:
    """Small and large ids, whole and partial blocks. A wrong word or counter gives an error of about 1."""
    elements = [*range(128), 128, 159, 160, 224, 255, 256, 300]
    values = ops.normal(torch.tensor(IDS), STREAM, seed, (301,))
    for row, sample_id in zip(values.tolist(), IDS, strict=True):
        expected = [float64_normal(e, sample_id, STREAM, seed) for e in elements]
        np.testing.assert_allclose([row[e] for e in elements], expected, rtol=0, atol=1.3e-6)


def test_normals_are_within_5_ulp_and_1e_6_of_float64() -> None:
    """4 million draws, compared with float64 results from the same words."""
    ids = torch.arange(1000)
    blocks = 32
    values = ops.normal(ids, 3, 9, (blocks * 128,)).view(1000, blocks, 2, 2, 32)
    counters = torch.arange(blocks * 32)
    words = philox(counters, torch.tensor(3), ids[:, None], torch.zeros(1, 1, dtype=torch.int64), 9)
    w = (
        torch.stack(words, dim=2).view(1000, blocks, 32, 2, 2).permute(0, 1, 3, 4, 2)
    )  # [B, block, pair, 2, lane]
    u = ((w[..., 0, :] >> 1).double() + 0.5) / 2**31
    angle = math.pi / 2 * ((w[..., 1, :] >> 30) + ((w[..., 1, :] % 2**30) - 2**29 + 0.5).double() / 2**30)
    radius = (-2 * u.log()).sqrt()
    exact = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=3)
    error = (values.double() - exact).abs()
    assert error.max() < 1e-6
    # near their zeros, cos and sin lose digits in float64 too: about 1e-16 of 2π, far below an ulp here
    ulp = torch.from_numpy(np.spacing(exact.abs().float().cpu().numpy())).double()
    assert (error / ulp).max() < 5


def test_every_bit_follows_the_written_formulas() -> None:
    """The formulas of reference.py's docstring in numpy's float32, which rounds each operation by itself."""
    f32 = np.float32

    def horner(coefficients: tuple[float, ...], x: NDArray[np.float32]) -> NDArray[np.float32]:
        p = np.full_like(x, coefficients[-1])
        for c in coefficients[-2::-1]:
            p = p * x + f32(c)
        return p

    w, v = np.random.default_rng(1).integers(0, 2**32, (2, 500_000))
    w[:2000], w[2000:4000] = np.arange(2000), 2**32 - 1 - np.arange(2000)
    n = (w >> 1).astype(np.int32)
    near = n > 1518500249
    g = (np.where(near, 2**31 - 1 - n, n).astype(f32) + f32(0.5)) * f32(2**-31)
    d = g.view(np.int32) - f32(math.sqrt(0.5)).view(np.int32)
    k = np.where(near, 0, d >> 23).astype(f32)
    f = np.where(near, -g, ((d & 0x7FFFFF) + f32(math.sqrt(0.5)).view(np.int32)).view(f32) - f32(1))
    radius = np.sqrt(f32(-2) * (k * f32(math.log(2)) + f * horner(constants.LOG, f)))
    q, b = v >> 30, ((v & (2**30 - 1)) - 2**29).astype(np.int32)
    a = (b.astype(f32) + f32(0.5)) * f32(2**-30)
    s, c = a * horner(constants.SIN, a * a), horner(constants.COS, a * a)
    assert radius.dtype == s.dtype == c.dtype == f32
    cosine, sine = _cosine_sine(torch.from_numpy(v))
    np.testing.assert_array_equal(_radius(torch.from_numpy(w)).cpu().numpy(), radius)
    np.testing.assert_array_equal(cosine.cpu().numpy(), np.choose(q, [c, -s, -c, s]))
    np.testing.assert_array_equal(sine.cpu().numpy(), np.choose(q, [s, c, -s, -c]))


def radii(w: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The radii of words in the reference, and the exact radii."""
    n = np.array(w) // 2
    log_u = np.where(n > 2**30, np.log1p(-(2**31 - 1 - n + 0.5) / 2**31), np.log((n + 0.5) / 2**31))
    return _radius(torch.tensor(w)).double().cpu().numpy(), np.sqrt(-2 * log_u)


def test_radius_at_the_ends_and_where_its_formula_changes() -> None:
    """u near 0, 1, √½ (where the complement starts) and powers of 2 (where the exponent changes)."""
    around = [
        0,
        2**32,
        math.isqrt(2**63),
        *(2**k for k in range(1, 32)),
        *(int(math.sqrt(0.5) * 2**k) for k in range(4, 32)),
    ]
    words = sorted(
        {word for centre in around for word in range(centre - 300, centre + 300) if 0 <= word < 2**32}
    )
    values, exact = radii(words)
    np.testing.assert_allclose(values, exact, rtol=2.5e-7, atol=0)
    assert values[0] == values.max() == np.float32(math.sqrt(64 * math.log(2)))
    assert 0 < values[-1] == values.min() < 2.2e-5


def test_a_quadrant_turns_the_angle_exactly() -> None:
    """Adding 2³⁰ to the word maps (cos, sin) to (−sin, cos) bit for bit."""
    words = torch.randint(0, 2**32, (10_000,), generator=torch.Generator().manual_seed(0))
    cosine, sine = _cosine_sine(words)
    rotated_cosine, rotated_sine = _cosine_sine((words + 2**30) % 2**32)
    assert torch.equal(rotated_cosine, -sine)
    assert torch.equal(rotated_sine, cosine)


def test_values_are_pinned() -> None:
    """The definition, which must not change: the bits of a few values, and a checksum of 100,000."""
    values = ops.normal(torch.tensor([42]), ops.stream(ops.Purpose.NOISE, 7), 2024, (4,))
    assert [v.hex() for v in values[0].tolist()] == PINNED
    many = ops.normal(torch.arange(100), 1, 2, (1000,)).view(torch.int32).to(torch.int64)
    weights = torch.arange(1, 100_001).view(100, 1000) % 9973 + 1
    assert int((many * weights).sum()) == CHECKSUM


def test_constants_are_the_fit() -> None:
    """Both files are those of `tools/fit_normal.py`, with the fit errors that the accuracy depends on."""
    tool = fit_tool()
    fits = tool.fits()
    assert Path(constants.__file__).read_text(encoding="utf-8") == tool.module(fits)
    assert (Path(__file__).parents[2] / "csrc" / "constants.h").read_text(encoding="utf-8") == tool.header(
        fits
    )
    for name, fit in fits.items():
        assert getattr(constants, name) == fit.coefficients
    assert fits["LOG"].error < 3.01e-8
    assert fits["SIN"].error < 3.3e-9
    assert fits["COS"].error < 3.9e-8


def fit_tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "fit_normal.py"
    spec = importlib.util.spec_from_file_location("fit_normal", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fit_normal"] = module
    spec.loader.exec_module(module)
    return module


def test_minimax_finds_the_chebyshev_polynomial() -> None:
    """The best approximation of x⁵ by lower powers on [−1, 1] leaves T₅/16."""
    x = -np.cos(np.pi * np.arange(2001) / 2000)
    solution = fit_tool().minimax(np.stack([x**i for i in range(5)], axis=1), x**5)
    np.testing.assert_allclose(solution, [0, -5 / 16, 0, 20 / 16, 0], atol=1e-6)


def test_noise_does_not_depend_on_the_batch_nor_on_the_shape() -> None:
    ids = torch.tensor([5, 2**40 + 3, 0, 99, 5])
    whole = ops.normal(ids, 11, 12, (3, 7, 31))
    for i in range(len(ids)):
        assert torch.equal(ops.normal(ids[i : i + 1], 11, 12, (3, 7, 31))[0], whole[i])
    assert torch.equal(whole[0], whole[4])
    flat = ops.normal(ids, 11, 12, (3 * 7 * 31,))
    assert torch.equal(whole.flatten(1), flat)
    assert torch.equal(ops.normal(ids, 11, 12, (100,)), flat[:, :100])
    assert torch.equal(ops.normal(ids.flip(0), 11, 12, (9,)), flat.flip(0)[:, :9])


def test_noise_ignores_threads_and_the_state_around_it() -> None:
    """The default dtype, autocast, torch's generator and the number of threads have no effect."""
    ids = torch.arange(300)
    before = ops.normal(ids, 1, 1, (1000,))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ops.normal(ids, 1, 1, (1000,)), before)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_counts_modulo_two_to_the_64() -> None:
    ids = torch.arange(3)
    assert torch.equal(ops.normal(ids, 0, -1, (5,)), ops.normal(ids, 0, 2**64 - 1, (5,)))
    assert torch.equal(ops.normal(ids, 0, -(2**63), (5,)), ops.normal(ids, 0, 2**63, (5,)))
    assert not torch.equal(ops.normal(ids, 0, 1, (5,)), ops.normal(ids, 0, 1 + 2**32, (5,)))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4, 5)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_any_shape(shape: tuple[int, ...], batch: int) -> None:
    values = ops.normal(torch.arange(batch), 1, 2, shape)
    assert values.shape == (batch, *shape)
    assert values.dtype == torch.float32
    assert values.is_contiguous()
    elements = math.prod(shape)
    expected = np.array(
        [[float64_normal(e, i, 1, 2) for e in range(elements)] for i in range(batch)]
    ).reshape(batch, *shape)
    np.testing.assert_allclose(values.cpu().numpy(), expected, atol=1.3e-6)


def test_ids_may_be_strided() -> None:
    ids = torch.arange(20)[::3]
    assert torch.equal(ops.normal(ids, 1, 1, (9,)), ops.normal(ids.contiguous(), 1, 1, (9,)))


def test_moments_of_a_million_draws() -> None:
    """Mean, variance, skewness and kurtosis are within 4.5 standard errors of those of N(0, 1)."""
    x = draws(1000, 1000).ravel()
    n = x.size
    for value, expected, variance in [
        (x.mean(), 0, 1),
        ((x**2).mean(), 1, 2),
        ((x**3).mean(), 0, 15),
        ((x**4).mean(), 3, 96),
        ((x**6).mean(), 15, 10395 - 225),
    ]:
        assert abs(value - expected) < 4.5 * math.sqrt(variance / n)


@pytest.mark.parametrize("part", ["all", "one id", "cosines", "sines", "element 0"])
def test_distribution_is_normal(part: str) -> None:
    """Kolmogorov–Smirnov and Anderson–Darling tests, of all draws and of each branch of the algorithm."""
    if part == "one id":
        x = draws(1, 500_000, seed=77)[0]
    elif part == "element 0":
        x = draws(50_000, 1, seed=78)[:, 0]
    else:
        x = draws(1000, 1024, seed=79).reshape(-1, 2, 32)
        x = {"all": x, "cosines": x[:, 0], "sines": x[:, 1]}[part]
    x = np.ravel(x)
    assert stats.kstest(x, "norm").pvalue > 1e-4
    assert stats.cramervonmises(x, "norm").pvalue > 1e-4


def test_tails_have_the_right_weight() -> None:
    """The counts beyond ±2, ±3, ±4 and ±4.5 σ in 4 million draws are within 4.5 σ of the binomial mean."""
    x = draws(1000, 4096, seed=5).ravel()
    for bound in (2, 3, 4, 4.5):
        p = stats.norm.sf(bound)
        for count in ((x > bound).sum(), (x < -bound).sum()):
            assert abs(count - x.size * p) < 4.5 * math.sqrt(x.size * p)
    assert 4.7 < np.abs(x).max() < 6.7


def test_pairs_have_a_uniform_angle_and_independent_parts() -> None:
    """Cosine and sine of a pair have one radius, but their squares and signs must be independent."""
    x = draws(1000, 1024, seed=6).reshape(-1, 2, 32)
    cosine, sine = x[:, 0].ravel(), x[:, 1].ravel()
    n = cosine.size
    assert abs(np.corrcoef(cosine**2, sine**2)[0, 1]) < 4.5 / math.sqrt(n)
    assert abs(np.corrcoef(np.abs(cosine), sine)[0, 1]) < 4.5 / math.sqrt(n)
    angle = np.arctan2(sine, cosine) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 1e-4
    assert stats.kstest(np.exp(-(cosine**2 + sine**2) / 2), "uniform").pvalue > 1e-4


def test_ids_streams_and_seeds_are_uncorrelated() -> None:
    """Inputs that could collide: ids that differ by 2³², streams and both halves of seeds by one bit."""
    ids, elements = torch.arange(300), (1000,)
    base = ops.normal(ids, 5, 1, elements).double().flatten()
    others = {
        "next id": ops.normal(ids + 300, 5, 1, elements),
        "id 2³² up": ops.normal(ids + 2**32, 5, 1, elements),
        "next stream": ops.normal(ids, 6, 1, elements),
        "stream's top bit": ops.normal(ids, 5 + 2**31, 1, elements),
        "next seed": ops.normal(ids, 5, 2, elements),
        "seed 2³² up": ops.normal(ids, 5, 1 + 2**32, elements),
        "seed and stream swapped": ops.normal(ids, 1, 5, elements),
    }
    bound = 4.5 / math.sqrt(base.numel())
    for name, other in others.items():
        values = other.double().flatten()
        for a, b in ((base, values), (base**2, values**2)):
            assert abs(np.corrcoef(a.cpu().numpy(), b.cpu().numpy())[0, 1]) < bound, name
        assert (base == values).double().mean() < 1e-4, name


def test_rows_and_columns_of_a_batch_are_uncorrelated() -> None:
    """The largest correlation of two of 64 samples, and of two of 256 elements, is no outlier."""
    x = draws(64, 20_000, seed=3)
    y = draws(20_000, 256, seed=4).T
    for rows in (x, y):
        correlation = np.corrcoef(rows)
        pairs = correlation[np.triu_indices(len(rows), 1)] * math.sqrt(rows.shape[1])
        assert np.abs(pairs).max() < 5.5
        assert abs(pairs.std() - 1) < 4.5 / math.sqrt(2 * len(pairs))


@pytest.mark.parametrize("lag", [1, 2, 31, 32, 33, 64, 96, 127, 128, 256, 4096])
def test_lags_along_a_sample_are_uncorrelated(lag: int) -> None:
    x = draws(20, 50_000, seed=8)
    a, b = x[:, :-lag].ravel(), x[:, lag:].ravel()
    for first, second in ((a, b), (a**2, b**2), (np.abs(a), b)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(a.size)


def test_uniform_and_bits_come_from_the_words_of_counter_0() -> None:
    ids = torch.tensor(IDS)
    for i, sample_id in enumerate(IDS):
        first, second, *_ = scalar_philox((0, STREAM, sample_id % 2**32, sample_id // 2**32), SEED)
        assert float(ops.uniform(ids, STREAM, SEED)[i]) == (first // 32 * 2**26 + second // 64) / 2**53
        assert int(ops.bits(ids, STREAM, SEED)[i]) == first * 2**31 + second // 2
    assert ops.uniform(ids, STREAM, SEED).dtype == torch.float64
    assert ops.bits(ids, STREAM, SEED).dtype == torch.int64
    assert ops.uniform(ids[:0], 0, 0).shape == ops.bits(ids[:0], 0, 0).shape == (0,)


def test_uniform_is_uniform() -> None:
    u = ops.uniform(torch.arange(200_000), 4, 4).cpu().numpy()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    assert stats.kstest(u * 1000 % 1, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4.5 / math.sqrt(u.size)


def test_bits_are_fair_and_sort_into_a_random_order() -> None:
    keys = ops.bits(torch.arange(100_000), 4, 4)
    assert keys.min() >= 0
    assert keys.unique().numel() == keys.numel()
    ones = torch.stack([(keys >> k & 1).double().mean() for k in range(63)])
    assert ((ones - 0.5).abs() < 4.5 * 0.5 / math.sqrt(keys.numel())).all()
    order = keys.argsort().double().cpu().numpy()
    assert abs(np.corrcoef(order, np.arange(order.size))[0, 1]) < 4.5 / math.sqrt(order.size)
    other = ops.bits(torch.arange(100_000), 5, 4).argsort().double().cpu().numpy()
    assert abs(np.corrcoef(order, other)[0, 1]) < 4.5 / math.sqrt(order.size)


def test_stream_packs_and_purposes_are_stable() -> None:
    assert ops.stream(3, 5) == 3 * 2**24 + 5
    assert ops.stream(255, 2**24 - 1) == 2**32 - 1
    assert type(ops.stream(ops.Purpose.TIME, 0)) is int
    assert {purpose.name: purpose.value for purpose in ops.Purpose} == {
        "INIT": 0,
        "SAMPLE": 1,
        "NOISE": 2,
        "TIME": 3,
        "ORDER": 4,
        "FLIP": 5,
        "VALIDATION_NOISE": 6,
        "VALIDATION_TIME": 7,
        "LABEL": 8,
        "SELF_CONDITION": 9,
        "KNOWN": 10,
        "BOUND": 11,
        "BOUND_TIME": 12,
        "PROBE": 13,
        "DENSITY": 14,
        "DEQUANTISE": 15,
        "MOMENTS": 16,
        "STEPS": 17,
    }
