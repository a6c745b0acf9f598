"""Cached data sets: a damaged entry is recreated, whatever the damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmx import DATASETS
from ddpmx.data import Data, cache
from ddpmx.files import cache_root


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """A labelled data set, which is now cached."""
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for k in range(24):
        folder = tmp_path / "set" / ("cat", "dog")[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8), dtype=np.uint8)).save(
            folder / f"{k}.png"
        )
    return load()


def load() -> Data:
    return DATASETS.build("image_folder", path="set").load(Path())


def entry() -> Path:
    (file,) = (cache_root() / "data").iterdir()
    return file


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


def replace_by_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


PIXELS, LABELS, FACTS = (
    torch.zeros(24, 1, 8, 8, dtype=torch.uint8),
    torch.zeros(24, dtype=torch.int64),
    {"classes": ["cat", "dog"]},
)


def holding(tensors: dict[str, torch.Tensor], facts: object = FACTS) -> Callable[[Path], None]:
    """A damage: a valid cache entry that is not a valid data set."""
    return lambda file: cache.write(file, tensors, facts)  # type: ignore[arg-type]


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "a flipped bit": flip_a_bit,
    "no safetensors": lambda file: file.write_bytes(b"\xff" * 100),
    "a huge header": lambda file: file.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "deep": lambda file: file.write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000),
    "a pipe": replace_by_pipe,
    "a folder": replace_by_folder,
    "a link to nothing": replace_by_link,
    "no training images": holding({"test.pixels": PIXELS}),
    "another split": holding({"train.pixels": PIXELS, "extra.pixels": PIXELS.clone()}),
    "float pixels": holding({"train.pixels": PIXELS.float(), "train.labels": LABELS}),
    "no pixels": holding({"train.pixels": PIXELS[:0], "train.labels": LABELS[:0]}),
    "not square": holding({"train.pixels": PIXELS[..., :7], "train.labels": LABELS}),
    "four channels": holding(
        {"train.pixels": PIXELS.expand(-1, 4, -1, -1).contiguous(), "train.labels": LABELS}
    ),
    "splits of two sizes": holding({"train.pixels": PIXELS, "test.pixels": PIXELS[..., :4, :4].contiguous()}),
    "too few labels": holding({"train.pixels": PIXELS, "train.labels": LABELS[:3]}),
    "a label without a class": holding({"train.pixels": PIXELS, "train.labels": LABELS + 5}),
    "labels without classes": holding({"train.pixels": PIXELS, "train.labels": LABELS}, {"classes": None}),
    "classes that are no names": holding(
        {"train.pixels": PIXELS, "train.labels": LABELS}, {"classes": [1, 2]}
    ),
    "no facts": holding({"train.pixels": PIXELS, "train.labels": LABELS}, {}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(damage: str, truth: Data) -> None:
    file = entry()
    DAMAGES[damage](file)
    assert load().fingerprint == truth.fingerprint
    assert entry().is_file()
    assert load().fingerprint == truth.fingerprint


def test_an_entry_of_before_there_were_checksums_is_used(truth: Data) -> None:
    file = entry()
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    facts = json.loads(header["__metadata__"]["facts"])
    header["__metadata__"] = {"facts": json.dumps({key: facts[key] for key in ("classes", "source")})}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    old = len(text).to_bytes(8, "little") + text + content[end:]
    file.write_bytes(old)
    assert load().fingerprint == truth.fingerprint
    assert file.read_bytes() == old
