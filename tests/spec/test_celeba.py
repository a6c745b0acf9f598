"""The experiment on faces works with a tiny copy of its data set, laid out as on the Hub."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features
from datasets import Image as ImageFeature
from PIL import Image

from ddpmx.models.base import check_size
from ddpmx.runs.preflight import examine
from ddpmx.spec.loading import load
from ddpmx.training.experiment import load_data

CELEBA = Path(__file__).parents[2] / "experiments" / "celeba.yaml"


def face(seed: int) -> dict[str, object]:
    pixels = np.random.default_rng(seed).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG")
    return {"bytes": file.getvalue(), "path": None}


def test_faces_are_resized_and_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path))
    folder = tmp_path / "hub" / "huggan" / "CelebA-faces" / "data"
    folder.mkdir(parents=True)
    rows = pa.table({"image": [face(k) for k in range(6)]}, Features({"image": ImageFeature()}).arrow_schema)
    pq.write_table(rows, folder / "train-00000-of-00001.parquet")
    spec = load(CELEBA)
    summary, _ = examine(spec, {})
    assert summary == "hub: 5 training images of 128×128, RGB; 1 validation"
    data = load_data(spec)
    assert (data.size, data.channels, data.flip, data.classes) == (128, 3, True, None)
    check_size(data.size, spec.model.model_dump()["dim_mults"])
    settings = (spec.loss.norm, spec.train.batch_size, spec.train.patience, spec.schedule.timesteps)
    assert settings == ("l1", 64, 10, 1000)
