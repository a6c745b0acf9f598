"""Conversion between bytes and the network's range, grids, PNG and GIF files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmx import SpecError
from ddpmx.images import class_grid, gif, grid, save_png, to_model, to_pixels

BYTES = torch.arange(256, dtype=torch.uint8)


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_every_byte_survives_the_round_trip():
    assert torch.equal(to_pixels(to_model(BYTES)), BYTES)


def test_the_model_sees_minus_one_to_one_evenly():
    torch.testing.assert_close(to_model(BYTES).double(), BYTES.double() / 127.5 - 1, rtol=0, atol=2**-24)
    assert to_model(BYTES).aminmax() == (-1.0, 1.0)


def test_what_lies_outside_is_clamped_and_halves_of_a_step_are_rounded():
    x = torch.tensor([-7.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.99999, 1.0, 7.0])
    assert to_pixels(x).tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_a_half_precision_sample_becomes_the_same_bytes_as_its_float32_value():
    x = to_model(BYTES).to(torch.bfloat16)
    assert torch.equal(to_pixels(x), to_pixels(x.float()))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_tile_of_a_grid_is_its_image_enlarged_without_smoothing(channels: int):
    pixels = random_pixels(5, channels, 8, 8)
    picture = np.asarray(grid(pixels, columns=3, pad=2, scale=4)).reshape(2 * 34 + 2, 3 * 34 + 2, channels)
    for k in range(5):
        top, left = 2 + k // 3 * 34, 2 + k % 3 * 34
        tile = picture[top : top + 32, left : left + 32]
        for row, column in ((0, 0), (3, 3), (2, 1)):  # every pixel of each 4×4 block
            np.testing.assert_array_equal(tile[row::4, column::4].transpose(2, 0, 1), pixels[k].numpy())
    assert (picture[36:, 70:] == 255).all()  # the sixth tile stays empty


def test_a_grid_is_as_square_as_can_be_and_large_enough_to_see():
    assert grid(random_pixels(9, 1, 8, 8), pad=0).size == (3 * 48, 3 * 48)
    assert grid(random_pixels(10, 1, 28, 28), pad=0).size == (4 * 56, 3 * 56)
    assert grid(random_pixels(1, 3, 64, 64), pad=0).size == (64, 64)


def test_two_channels_cannot_be_shown():
    with pytest.raises(SpecError, match="channels, not 2"):
        grid(random_pixels(1, 2, 8, 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_every_pixel(tmp_path: Path, channels: int):
    pixels = random_pixels(channels, 8, 8)
    save_png(pixels, tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as image:
        np.testing.assert_array_equal(
            np.asarray(image).reshape(8, 8, channels).transpose(2, 0, 1), pixels.numpy()
        )


def test_a_gif_keeps_every_frame_and_rests_on_the_last(tmp_path: Path):
    frames = [grid(random_pixels(4, 1, 8, 8).roll(k), pad=0, scale=1) for k in range(3)]
    (tmp_path / "denoising.gif").write_bytes(gif(frames, milliseconds=50, hold=900))
    with Image.open(tmp_path / "denoising.gif") as animation:
        assert animation.n_frames == 3
        for k, frame in enumerate(frames):
            animation.seek(k)
            np.testing.assert_array_equal(np.asarray(animation.convert("L")), np.asarray(frame))
            assert animation.info["duration"] == (900 if k == 2 else 50)


def tile_values(pixels: torch.Tensor, labels: torch.Tensor | None) -> list[list[int]]:
    """The grey level of each tile in a grid of uniformly grey 48×48 images."""
    picture = np.array(class_grid(pixels.view(-1, 1, 1, 1).expand(-1, 1, 48, 48), labels))
    return picture[26::50, 26::50].tolist()


def test_each_class_starts_a_row_of_a_grid() -> None:
    greys = torch.arange(7, dtype=torch.uint8)
    assert tile_values(greys, torch.tensor([4, 4, 4, 1, 1, 9, 9])) == [[0, 1, 2], [3, 4, 255], [5, 6, 255]]
    assert tile_values(greys, torch.tensor([4, 4, 4, 4, 4, 9, 9])) == [[0, 1, 2, 3, 4], [5, 6, 255, 255, 255]]
    many = tile_values(torch.arange(21), torch.tensor([2] * 13 + [0] * 8))  # a row of 13 would be too long
    assert many == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 255, 255],
        [13, 14, 15, 16, 17],
        [18, 19, 20, 255, 255],
    ]
    square = [[0, 1, 2], [3, 4, 5], [6, 255, 255]]
    assert tile_values(greys, torch.arange(7)) == square
    assert tile_values(torch.arange(4), torch.arange(4)) == [[0, 1], [2, 3]]
    assert tile_values(greys, torch.zeros(7)) == square
    assert tile_values(greys, None) == square
