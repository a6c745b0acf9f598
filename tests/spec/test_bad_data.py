"""Data that are missing, broken or unsuitable are rejected with one message, without a run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Result
from PIL import Image
from refusals import refused_without_run as refused

Run = Callable[..., Result]


def test_absent_data_names_three_ways(
    ddpmx: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny.write_text(TINY.replace("digits", "fashion_mnist"))
    refused(
        ddpmx("run", tiny, "--out", tmp_path / "runs"),
        tmp_path,
        ["tiny.yaml:3", "dataset", "dataset.path", "DDPMX_DATA"],
    )


def test_a_data_path_that_is_not_there(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: mnist, path: nowhere}"))
    refused(
        ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, ["tiny.yaml:3", "dataset.path", "nowhere"]
    )


def images(folder: Path, sizes: list[tuple[int, int]]) -> None:
    folder.mkdir()
    for index, size in enumerate(sizes):
        noise = np.random.default_rng(index).integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:03d}.png")


def test_a_truncated_image_is_named(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    images(tmp_path / "pictures", [(8, 8)] * 40)
    broken = tmp_path / "pictures" / "007.png"
    broken.write_bytes(broken.read_bytes()[:60])
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: image_folder, path: pictures}"))
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, ["tiny.yaml:3", "dataset", "007.png"])


def test_mixed_sizes_are_named(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    images(tmp_path / "pictures", [(8, 8)] * 20 + [(16, 16)] * 20)
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: image_folder, path: pictures}"))
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, ["tiny.yaml:3", "dataset", "size"])


def test_a_metric_that_the_data_do_not_allow_is_refused_before_the_run(
    ddpmx: Run, tiny: Path, tmp_path: Path
) -> None:
    images(tmp_path / "pictures", [(8, 8)] * 40)
    text = TINY.replace("dataset: digits", "dataset: {name: image_folder, path: pictures}")
    tiny.write_text(text.replace("samples: 8", "samples: 8, metrics: [fd_cnn]"))
    refused(
        ddpmx("run", tiny, "--out", tmp_path / "runs"),
        tmp_path,
        ["tiny.yaml:7", "evaluate.metrics.0", "no labels"],
    )
