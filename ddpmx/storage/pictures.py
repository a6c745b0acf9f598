"""Pictures beside scores: small PNG files in `<run>/samples/`, which the event of the scores names."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..errors import SpecError
from ..files import read_bytes
from ..images import Picture, png, to_pil
from ..outputs import whole
from ..training.events import Picture as Record

FOLDER = "samples"
MOST_BYTES = 80_000
"""Bytes above which a picture is stored at a half, a third, … of its size."""
MAX_BYTES = 5_000_000
"""Most bytes of a file that is read."""
NAME_LENGTH = 60
"""Most characters of a score's name in the name of a file."""


def write(run: Path, stem: str, pictures: Mapping[str, Picture]) -> dict[str, Record]:
    """Write the pictures of scores to files of the run, whose names contain `stem`. Raises OSError.

    Returns what an event holds of each.
    """
    records: dict[str, Record] = {}
    taken: set[str] = set()
    for score, picture in pictures.items():
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", score)[:NAME_LENGTH]
        while name in taken:
            name += "_"
        taken.add(name)
        path = f"{FOLDER}/{name}-{stem}.png"
        with whole(run / path) as temporary:
            temporary.write_bytes(_small(_sheet(picture.images), picture))
        records[score] = {
            "path": path,
            "columns": list(picture.columns),
            "labels": list(picture.labels),
            "caption": picture.caption,
        }
    return records


def read(run: Path, record: Record) -> list[list[Image.Image]]:
    """The images of a picture by row and column; empty if its file is missing, damaged or not of the run."""
    path, rows, columns = (run / record["path"]).resolve(), len(record["labels"]), len(record["columns"])
    if not path.is_relative_to(run.resolve()):
        return []
    try:
        content = io.BytesIO(read_bytes(path, MAX_BYTES))
        with Image.open(content, formats=["PNG"]) as sheet:
            sheet.load()
            return _tiles(sheet, rows, columns)
    except (OSError, SpecError, Image.DecompressionBombError):  # Pillow's other errors are OSErrors
        return []


def _tiles(sheet: Image.Image, rows: int, columns: int) -> list[list[Image.Image]]:
    """The images of a sheet by row and column; empty if it is no sheet of so many."""
    width, height = sheet.width // columns, sheet.height // rows
    if (width * columns, height * rows) != sheet.size:
        return []
    return [
        [sheet.crop((width * j, height * i, width * (j + 1), height * (i + 1))) for j in range(columns)]
        for i in range(rows)
    ]


def _sheet(images: Tensor) -> Image.Image:
    """All images side by side, without gaps."""
    rows, columns, c, h, w = images.shape
    return to_pil(images.permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w).cpu())


def _small(sheet: Image.Image, picture: Picture) -> bytes:
    """The sheet as a PNG file, reduced by a whole number if it would be large."""
    content, factor = png(sheet), 1
    side = min(picture.images.shape[-2:])
    while len(content) > MOST_BYTES and side // (factor + 1) >= 8:
        factor += 1
        rows, columns = picture.images.shape[:2]
        size = tuple(length // factor for length in (picture.images.shape[4], picture.images.shape[3]))
        content = png(sheet.resize((columns * size[0], rows * size[1]), Image.Resampling.BOX))
    return content
