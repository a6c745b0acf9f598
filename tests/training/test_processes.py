"""Runs of several processes, some without images: no network is ever called with an empty batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result, epochs, only_run
from forked import together
from PIL import Image

import ddpmx as package
from ddpmx.components.registry import MODELS

PLUGIN = """
import ddpmx
from torch import nn

class Network(nn.Conv2d):
    def forward(self, x, t):
        assert len(x) == len(t) > 0, "a batch of no images"
        return super().forward(x) + t.view(-1, 1, 1, 1) / 100

@ddpmx.MODELS.register("picky")
class Picky(ddpmx.Model):
    '''A convolution that refuses an empty batch.'''
    def build(self, channels, size):
        return Network(channels, channels, 3, padding=1)
"""
BUILT_IN = {
    "ddpm_unet": {"dim": 16, "dim_mults": (1, 2), "blocks": 1, "classes": True},
    "convnext_unet": {"dim": 16, "dim_mults": (1, 2), "classes": True},
    "diffusers_unet": {
        "config": {
            "block_out_channels": [32, 32],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        }
    },
}


def write_small_data(folder: Path, count: int, *lines: str) -> None:
    """Write a spec with `count` images, 1 for validation, and a network that refuses an empty batch."""
    (folder / "picky.py").write_text(PLUGIN)
    (folder / "images").mkdir()
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{seed:02}.png")
    spec = TINY.replace("dataset: digits", "dataset: {name: image_folder, path: images}\nplugins: [picky.py]")
    spec = spec.replace("{name: convnext_unet, dim: 8, dim_mults: [1, 2]}", "picky")
    (folder / "tiny.yaml").write_text("\n".join([spec, *lines]))


@pytest.mark.parametrize(
    ("count", "overrides"),
    [
        # 17 training images: the second process has none of the last batch, and 8 images can't form 12 parts
        (
            18,
            [
                "train.epochs=2",
                "train.batch_size=16",
                "train.accumulate=12",
                "evaluate.samples=3",
                "evaluate.metrics=[{name: pixel_fd, reference: train}]",
            ],
        ),
        # 1 training image: the second process never has any
        (2, ["train.epochs=1", "train.batch_size=64", "evaluate.samples=2"]),
    ],
)
def test_processes_without_images_train_validate_and_sample_like_one(
    ddpmx: Callable[..., Result], tmp_path: Path, count: int, overrides: list[str]
) -> None:
    write_small_data(tmp_path, count)
    options = [
        part for override in ["train.steps=null", "evaluate.grid=1", *overrides] for part in ("-s", override)
    ]
    assert together(tmp_path, 2, "run", "tiny.yaml", "--out", "two", *options) == [0, 0], (
        tmp_path / "said"
    ).read_text()
    alone = ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path / "one", "--device", "cpu", *options)
    assert alone.code == 0, alone.err
    one, two = (epochs(only_run(tmp_path / out)) for out in ("one", "two"))
    assert [(row["step"], row["images"]) for row in one] == [(row["step"], row["images"]) for row in two]
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "val_loss"):
            assert a[key] == pytest.approx(b[key], rel=1e-4)
        assert a["metrics"] == pytest.approx(b["metrics"], rel=0.02)  # rounding may move pixels by 1/255


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_networks_accept_an_empty_batch(name: str) -> None:
    if name == "diffusers_unet":
        pytest.importorskip("diffusers")
    fields = BUILT_IN[name]
    network = MODELS.build(name, **fields).build(1, 8, *([3] if "classes" in fields else []))
    labels = [torch.zeros(0, dtype=torch.int64)] if "classes" in fields else []
    assert network(torch.zeros(0, 1, 8, 8), torch.zeros(0), *labels).shape == (0, 1, 8, 8)


def test_sampling_no_images_does_not_call_the_network() -> None:
    table = package.SCHEDULES.build("linear", timesteps=10).table()
    plan = package.SAMPLERS.build("ddim", steps=2).plan(table)
    called: list[int] = []

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        called.append(len(x))
        return x

    assert package.sample(denoise, plan, (0, 1, 4, 4)).shape == (0, 1, 4, 4)
    assert called == []
