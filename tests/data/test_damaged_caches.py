"""Cached features, classifiers and images: a damaged entry is recreated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmx.components.registry import DATASETS
from ddpmx.data import Data, Images
from ddpmx.metrics.cnn import Cnn


def damaged_entries(content: bytes) -> dict[str, bytes]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])

    def packed(header: Any, data: bytes) -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data

    data = content[8 + length :]
    return {
        "empty": b"",
        "half": content[: len(content) // 2],
        "a lost bit": content[:-5] + bytes([content[-5] ^ 64]) + content[-4:],
        "no facts": packed({key: value for key, value in header.items() if key != "__metadata__"}, data),
        "facts that are a list": packed(
            {**header, "__metadata__": {**header["__metadata__"], "facts": "[1]"}}, data
        ),
        "deep facts": packed(
            {**header, "__metadata__": {**header["__metadata__"], "facts": "[" * 100_000}}, data
        ),
        "other tensors": packed(
            {"__metadata__": {"facts": "{}"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
            bytes(4),
        ),
    }


def test_a_damaged_cache_entry_is_recreated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of real images, and the classifier that computes them."""
    monkeypatch.setattr("ddpmx.metrics.classifier.EPOCHS", 1)
    monkeypatch.setattr("ddpmx.metrics.classifier.MIN_STEPS", 1)
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path))
    noise = torch.randint(
        0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images = Images(noise, torch.arange(20) % 2)
    data = Data("noise", images, images, None, ("a", "b"))

    def features() -> torch.Tensor:
        return Cnn(data).real(noise, lambda done, total: None)

    expected = features()
    entries = list(tmp_path.rglob("*.safetensors"))
    assert {entry.parent.name for entry in entries} == {"features", "classifiers"}
    for entry in entries:
        whole = entry.read_bytes()
        for name, content in damaged_entries(whole).items():
            entry.write_bytes(content)
            assert torch.equal(features(), expected), name
            assert entry.read_bytes() == whole, name
        entry.unlink()
        entry.mkdir()
        assert torch.equal(features(), expected)
        assert entry.read_bytes() == whole


def test_decoded_images_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    for k in range(20):
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    dataset = DATASETS.build("image_folder", path=str(tmp_path))
    expected = dataset.load(tmp_path).fingerprint
    (entry,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = entry.read_bytes()
    for name, content in damaged_entries(whole).items():
        entry.write_bytes(content)
        assert dataset.load(tmp_path).fingerprint == expected, name
        assert entry.read_bytes() == whole, name
