"""A grid's PNG gives back the images it was made from, and many grids fit on one page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmx.comparison import grids as compare_grids
from ddpmx.comparison.grids import Sheet, encode, fitted, read_sheet
from ddpmx.images import class_grid, grid


def noise(n: int, size: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def cell(sheet: Sheet, row: int, column: int) -> np.ndarray:
    size = sheet.size
    return sheet.pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]


@pytest.mark.parametrize(
    ("n", "size", "channels"), [(36, 8, 1), (64, 28, 1), (64, 32, 3), (7, 8, 3), (1, 16, 1), (2, 96, 3)]
)
def test_the_tiles_come_back_pixel_for_pixel(n: int, size: int, channels: int, tmp_path: Path):
    images = noise(n, size, channels)
    grid(images).save(tmp_path / "grid.png")
    sheet = read_sheet(tmp_path / "grid.png", n)
    assert sheet is not None
    columns = sheet.shape[1]
    assert sheet.shape[2:] == (size, channels)
    for k in range(n):
        assert np.array_equal(cell(sheet, k // columns, k % columns), images[k].permute(1, 2, 0).numpy()), k


def test_white_images_do_not_hide_the_margins(tmp_path: Path):
    """White borders inside the tiles look like margins of smaller tiles."""
    images = torch.full((16, 1, 8, 8), 255, dtype=torch.uint8)
    images[:, :, 3:5, 3:5] = noise(16, 2)
    grid(images).save(tmp_path / "grid.png")
    sheet = read_sheet(tmp_path / "grid.png", 16)
    assert sheet is not None
    assert sheet.shape == (4, 4, 8, 1)


def test_a_row_for_each_class(tmp_path: Path):
    images = noise(30, 8)
    class_grid(images, torch.arange(30) // 3).save(tmp_path / "grid.png")
    sheet = read_sheet(tmp_path / "grid.png", 30)
    assert sheet is not None
    assert sheet.shape == (10, 3, 8, 1)
    assert np.array_equal(cell(sheet, 9, 2)[..., 0], images[29, 0].numpy())


def test_an_incomplete_file_is_none(tmp_path: Path):
    grid(noise(16, 8)).save(tmp_path / "grid.png")
    whole = (tmp_path / "grid.png").read_bytes()
    (tmp_path / "grid.png").write_bytes(whole[: len(whole) // 2])
    assert read_sheet(tmp_path / "grid.png", 16) is None
    assert read_sheet(tmp_path / "none.png", 16) is None


def sheets(epochs: int, size: int, channels: int = 3) -> dict[int | None, Sheet]:
    """A run's sheets of colour noise by epoch, and the final one under None."""
    final: dict[int | None, Sheet] = {None: Sheet(noise(1, size, channels)[0].permute(1, 2, 0).numpy(), size)}
    return {
        **{
            epoch: Sheet(noise(1, size, channels, epoch)[0].permute(1, 2, 0).numpy(), size)
            for epoch in range(1, epochs + 1)
        },
        **final,
    }


def test_grids_that_fit_lose_nothing():
    run = sheets(epochs=5, size=16)
    (grids,) = fitted([run])
    assert [grid.epoch for grid in grids] == [1, 2, 3, 4, 5, None]
    for one in grids:
        content = base64.b64decode(one.image.uri.split(",")[1])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), run[one.epoch].pixels)


def test_grids_that_do_not_fit_are_fewer_and_keep_the_ends(monkeypatch: pytest.MonkeyPatch):
    """Noise is the worst case: of 2 × 41 grids, as many remain as fit into ROOM."""
    monkeypatch.setattr(compare_grids, "ROOM", 60_000)
    runs = fitted([sheets(epochs=40, size=64), sheets(epochs=40, size=64)])
    assert sum(len(grid.image.uri) for run in runs for grid in run) <= 60_000
    for run in runs:
        epochs = [grid.epoch for grid in run]
        assert len(epochs) > 3
        assert (epochs[0], epochs[-2:]) == (1, [40, None])


def test_the_smaller_of_png_and_webp_is_taken():
    sheet = sheets(0, 64)[None]
    image = Image.fromarray(sheet.pixels)
    sizes = []
    for options in ({"format": "PNG", "optimize": True}, {"format": "WEBP", "lossless": True}):
        file = io.BytesIO()
        image.save(file, **options)
        sizes.append(len(file.getvalue()))
    assert len(base64.b64decode(encode(sheet, "", lossless=True).uri.split(",")[1])) == min(sizes)
