"""Images of a data set in memory as a model's input, compared with the formula."""

from __future__ import annotations

import pytest
import torch
from cpu_levels import LEVELS, at_level

from ddpmx import ops


@pytest.fixture(params=["reference", *LEVELS])
def way(request):
    """The reference, or a CPU level of the kernel."""
    if request.param == "reference":
        with ops.use_backend("reference"):
            yield "reference"
        return
    with at_level(request.param):
        yield request.param


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 7), (2, 1, 1), (1, 3, 300)], ids=str)
@pytest.mark.parametrize("seed", [0, -5, 2**64 - 1])
def test_pixels_are_scaled_and_those_whose_bits_begin_with_0_mirrored(
    way: str, shape: tuple[int, ...], seed: int
) -> None:
    pixels = torch.randint(256, (90, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(89, -1, -3)
    unflipped = pixels[ids].float() / 127.5 - 1
    assert torch.equal(ops.fetch(pixels, ids, flips=None, seed=seed), unflipped)
    mirrored = ops.bits(ids, 7, seed) < 2**62
    assert 5 < int(mirrored.sum()) < 25
    expected = torch.where(mirrored.view(-1, 1, 1, 1), unflipped.flip(-1), unflipped)
    assert torch.equal(ops.fetch(pixels, ids, flips=7, seed=seed), expected)
    every_other = torch.stack((ids, ids), dim=1)[:, 0]
    assert torch.equal(ops.fetch(pixels, every_other, flips=7, seed=seed), expected)
    assert ops.fetch(pixels, ids[:0], flips=7, seed=seed).shape == (0, *shape)


def test_a_set_in_another_layout_gives_the_same(way: str) -> None:
    pixels = torch.randint(256, (20, 3, 6, 4), dtype=torch.uint8)
    other = pixels.contiguous(memory_format=torch.channels_last)
    ids = torch.arange(20)
    assert torch.equal(ops.fetch(other, ids, flips=1, seed=0), ops.fetch(pixels, ids, flips=1, seed=0))


@pytest.mark.parametrize("wrong", [-1, 4])
def test_an_id_that_is_not_in_the_set_is_an_error(way: str, wrong: int) -> None:
    with pytest.raises(IndexError):
        ops.fetch(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, wrong]), flips=None, seed=0)
