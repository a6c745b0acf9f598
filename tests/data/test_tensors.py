"""Images in files of tensors, and tensors as the data of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from torch import Tensor

import ddpmx
from ddpmx.api.data import data_of
from ddpmx.data.tensor import to_bytes
from ddpmx.errors import SpecError
from ddpmx.images import to_model
from ddpmx.training.loop import EpochDone


def pixels(n: int, channels: int = 1, size: int = 8) -> Tensor:
    count = n * channels * size * size
    return (torch.arange(count) * 37 % 256).to(torch.uint8).view(n, channels, size, size)


def loaded(path: Path, **parameters: Any) -> ddpmx.Data:
    return ddpmx.DATASETS.build("tensor", path=str(path), **parameters).load(path.parent)


def test_a_file_of_safetensors_has_splits_labels_and_classes(tmp_path: Path) -> None:
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    tensors = {"train": pixels(6, 3), "validation": pixels(2, 3), "train.labels": labels}
    save_file(tensors, tmp_path / "a.safetensors", {"classes": json.dumps(["cat", "dog"])})
    data = loaded(tmp_path / "a.safetensors", flip=True)
    assert torch.equal(data.train.pixels, tensors["train"])
    assert torch.equal(data.train.labels, tensors["train.labels"])
    assert torch.equal(data.validation.pixels, tensors["validation"])
    assert (data.classes, data.flip, data.test, data.validation.labels) == (("cat", "dog"), True, None, None)
    (tmp_path / "b.safetensors").write_bytes(to_bytes(data))
    assert loaded(tmp_path / "b.safetensors").fingerprint == data.fingerprint


def test_an_array_is_the_training_images_of_which_some_are_held_out(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", to_model(pixels(40)).numpy())
    data = loaded(tmp_path / "a.npy")
    assert data.counts == {"train": 38, "validation": 2}
    both = torch.cat([data.train.pixels, data.validation.pixels])
    assert sorted(map(bytes, both.flatten(1).numpy())) == sorted(map(bytes, pixels(40).flatten(1).numpy()))
    assert data_of(to_model(pixels(40))).fingerprint == data_of(pixels(40)).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            torch.full((4, 1, 8, 8), 1.5),
            r"^data: the train images .* \[−1, 1\], but one value is 1\.5",
        ),
        (torch.full((4, 1, 8, 8), torch.nan), "^data: the train images should be in .* is nan"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int64), "^data: the train images should be uint8, or floats"),
        (
            torch.zeros(4, 2, 8, 8),
            r"^data: the .* images of 'tensor' should be uint8 \[n, 1 or 3",
        ),
        (torch.zeros(1, 1, 8, 8), "^data.validation: holding out 0.05 of 1 training images leaves none"),
        ([1.0], "^data: the train images should be uint8, or floats in .* not list"),
    ],
)
def test_tensors_that_are_no_images_are_refused(tensor: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        data_of(tensor)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^path: should be a file that ends in \.safetensors or \.npy"):
        loaded(tmp_path / "a.npy")
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(SpecError, match="^path: cannot be read: "):
        loaded(tmp_path / "a.safetensors")
    np.save(tmp_path / "a.npy", np.array([{"pickled": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SpecError, match="^path: cannot be read: .*pickle"):
        loaded(tmp_path / "a.npy")
    save_file({"images": pixels(4)}, tmp_path / "a.safetensors")
    with pytest.raises(SpecError, match="^path: has images, where it should have train, train.labels, "):
        loaded(tmp_path / "a.safetensors")


FIELDS = {
    "name": "tensors",
    "model": {"name": "convnext_unet", "dim": 8, "dim_mults": [1, 2]},
    "schedule": {"name": "cosine", "timesteps": 20},
    "train": {"steps": 2, "batch_size": 16},
}


def test_a_training_takes_tensors(tmp_path: Path) -> None:
    """In the place of any data set, and the same as from a file."""
    np.save(tmp_path / "a.npy", pixels(40).numpy())
    (tmp_path / "tiny.yaml").write_text(TINY)
    stored = {**FIELDS, "dataset": {"name": "tensor", "path": str(tmp_path / "a.npy")}}
    losses = [
        [event.val_loss for event in training if isinstance(event, EpochDone)]
        for training in (
            ddpmx.train(FIELDS, data=pixels(40), device="cpu"),
            ddpmx.train(stored, device="cpu"),
        )
    ]
    assert losses[0] == losses[1] != []
    assert ddpmx.train(tmp_path / "tiny.yaml", data=pixels(40)).spec.dataset.component_name == "no_images"


@pytest.mark.slow
def test_a_run_of_tensors_can_be_measured_later(tmp_path: Path) -> None:
    overrides = {"evaluate": {"samples": 8, "grid": 0, "sampler": {"name": "ddim", "steps": 2}}}
    run = ddpmx.run(FIELDS, overrides, data=pixels(40), out=tmp_path / "runs", device="cpu", progress=False)
    (file,) = (tmp_path / "runs" / "data").iterdir()
    assert file.stem == data_of(pixels(40)).fingerprint
    assert run.spec.dataset.spec()["path"] == str(file)
    (event,) = run.evaluate(["pixel_fd"], progress=False)
    assert event["data"]["fingerprint"] == file.stem
