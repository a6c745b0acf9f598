"""Images of more than 8 bits in every file format: read as the format says, or rejected; EXIF orientation."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Result
from PIL import Image

from ddpmx import DATASETS, SpecError
from ddpmx.data.decode import decode
from ddpmx.runs.user_images import read_images, read_mask

RAMP = np.tile(np.linspace(0, 1, 16), (16, 1))
WIDE = (RAMP * 65535).round().astype(np.uint16)
BYTES = (WIDE >> 8).astype(np.uint8)


def file_of(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def tiff_of(values: np.ndarray, **tags: int) -> bytes:
    """A hand-written TIFF with one strip: values as they are in memory, little-endian."""
    fields = {
        256: values.shape[1],
        257: values.shape[0],
        258: 8 * values.itemsize,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        279: values.nbytes,
    }
    fields |= {
        {"bits": 258, "photometric": 262, "format": 339, "width": 256}[name]: value
        for name, value in tags.items()
    }
    entries = b"".join(
        tag.to_bytes(2, "little")
        + (4).to_bytes(2, "little")
        + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, value in sorted(fields.items())
    )
    directory = len(fields).to_bytes(2, "little") + entries + bytes(4)
    return b"II*\0" + (8 + values.nbytes).to_bytes(4, "little") + values.tobytes() + directory


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_unsigned_16_bit_images_are_read(kind: str) -> None:
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    np.testing.assert_array_equal(decode(file_of(WIDE, kind, **options), "a file"), BYTES)


def test_a_tiff_says_how_many_bits_and_which_end_is_white() -> None:
    np.testing.assert_array_equal(decode(tiff_of(WIDE), "a file"), BYTES)
    np.testing.assert_array_equal(decode(tiff_of(WIDE, format=1), "a file"), BYTES)
    np.testing.assert_array_equal(decode(tiff_of(WIDE, photometric=0), "a file"), 255 - BYTES)
    twelve = (WIDE >> 4).reshape(-1, 2)  # three bytes hold two values
    packed = np.stack(
        [twelve[:, 0] >> 4, (twelve[:, 0] & 15) << 4 | twelve[:, 1] >> 8, twelve[:, 1] & 255], 1
    ).astype(np.uint8)
    np.testing.assert_array_equal(decode(tiff_of(packed.reshape(16, 24), bits=12, width=16), "a file"), BYTES)


REFUSED = {
    "float TIFF": (file_of(RAMP.astype(np.float32), "TIFF"), "floating-point"),
    "float TIFF up to 1000": (file_of((1000 * RAMP).astype(np.float32), "TIFF"), "floating-point"),
    "int32 TIFF": (file_of((RAMP * 65535).astype(np.int32), "TIFF"), "signed"),
    "uint32 TIFF": (tiff_of(WIDE.astype(np.uint32)), "32-bit"),
    "int16 TIFF": (tiff_of(WIDE.astype(np.int16), format=2), "signed"),
    "int8 TIFF": (tiff_of(BYTES.astype(np.int8), format=2), "signed"),
    "PFM": (b"Pf\n16 16\n-1.0\n" + RAMP.astype("<f4").tobytes(), "floating-point"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_pixels_without_a_defined_white_are_refused(name: str) -> None:
    encoded, why = REFUSED[name]
    for channels in (None, 1, 3):
        with pytest.raises(SpecError, match=f"^the file cannot be used: its pixels are .*{why}"):
            decode(encoded, "the file", None, channels)


def test_folders_tables_and_pictures_name_the_file_or_row(
    ddpmx: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    for index in range(3):
        (tmp_path / "set" / f"{index}.png").write_bytes(file_of(BYTES, "PNG"))
    wide = tmp_path / "set" / "wide.tif"
    wide.write_bytes(REFUSED["float TIFF"][0])
    with pytest.raises(SpecError, match=r"wide\.tif cannot be used: its pixels are floating-point"):
        DATASETS.build("image_folder", path="set").load(tmp_path)
    rows = [{"bytes": file.read_bytes(), "path": None} for file in sorted((tmp_path / "set").iterdir())]
    pq.write_table(pa.table({"image": rows}), tmp_path / "train.parquet")
    with pytest.raises(
        SpecError, match=r"row 3 of the train split of .* cannot be used: its pixels are floating-point"
    ):
        DATASETS.build("parquet", path="train.parquet").load(tmp_path)
    for read in (lambda: read_images(wide, 1, (1, 16, 16)), lambda: read_mask(wide, (1, 16, 16))):
        with pytest.raises(SpecError, match=r"wide\.tif cannot be used") as error:
            read()
        assert error.value.field in ("--image", "--mask")


def test_oddities_of_a_data_set_are_noted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dark").mkdir()
    for index in range(3):
        (tmp_path / "dark" / f"{index}.png").write_bytes(file_of(WIDE >> 4, "PNG"))
    data = DATASETS.build("image_folder", path="dark").load(tmp_path)
    assert int(data.train.pixels.max()) == 15
    assert (
        "the 3 16-bit images are nearly black: their largest value is 4,095 of 65,535"
        in capsys.readouterr().err
    )
    moving = Image.fromarray(BYTES)
    for kind, suffix in (("PNG", "png"), ("GIF", "gif"), ("TIFF", "tif"), ("WEBP", "webp")):
        (tmp_path / suffix).mkdir()
        for index in range(3):
            more = {"save_all": True, "append_images": [Image.fromarray(255 - BYTES)]} if index == 1 else {}
            lossless = {"lossless": True} if kind == "WEBP" else {}
            (tmp_path / suffix / f"{index}.{suffix}").write_bytes(file_of(moving, kind, **more, **lossless))
        data = DATASETS.build("image_folder", path=suffix, channels=1).load(tmp_path)
        assert all(
            int((image.int() - torch.from_numpy(BYTES)).abs().max()) <= 1 for image in data.train.pixels
        )
        notes = " ".join(capsys.readouterr().err.split())
        assert "images with several frames: 1; only the first frame of each is used" in notes
        assert f"1.{suffix})" in notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "16-bit PNG", "16-bit TIFF"])
def test_orientation_is_applied_in_every_format(kind: str, orientation: int) -> None:
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:8, :8], pixels[:8, 8:], pixels[8:, :8] = 240, 160, 80
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels),
    }[orientation]
    mark = Image.Exif()
    mark[0x0112] = orientation
    wide = kind.startswith("16-bit")
    saved = pixels.astype(np.uint16) * 257 if wide else pixels
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    decoded = decode(file_of(saved, kind.removeprefix("16-bit "), exif=mark, **options), "a file", None, 1)
    assert np.abs(decoded.astype(int) - upright).max() <= 2


def test_transparent_pixels_become_white_in_every_mode() -> None:
    half = np.full((16, 16), 255, np.uint8)
    half[8:] = 0
    grey = Image.merge("LA", [Image.fromarray(np.zeros((16, 16), np.uint8)), Image.fromarray(half)])
    blended = decode(file_of(grey, "PNG"), "a file")
    assert blended.shape == (16, 16)
    assert blended[[0, 15], 0].tolist() == [0, 255]
    keyed = decode(file_of(WIDE, "PNG", transparency=int(WIDE[0, 3])), "a file")
    assert keyed[0, :5].tolist() == [0, 17, 34, 255, 68]
