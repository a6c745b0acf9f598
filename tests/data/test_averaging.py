"""Data sets with a smaller `size`: exact means, own caches for all that is computed of them, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_data import encoded, picture, write_parquet

from ddpmx import DATASETS, MODELS, SpecError
from ddpmx.data import Data
from ddpmx.data.averaging import means
from ddpmx.files import cache_root
from ddpmx.runs.known_runs import comparable, training_key
from ddpmx.runs.preflight import examine
from ddpmx.spec.loading import load as load_spec
from ddpmx.spec.schema import Spec
from ddpmx.storage.comparable import fingerprinted
from ddpmx.storage.provenance import DataRecord

FIXED = ("digits", "mnist", "fashion_mnist", "cifar10")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DDPMX_DATA", raising=False)


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """A folder laid out as Fashion-MNIST, with 40 training and 12 test images of 28×28."""
    images = [encoded(picture(k, 28, 28)) for k in range(52)]
    write_parquet(tmp_path / "clothes/train-00000-of-00001.parquet", images[:40], [k % 3 for k in range(40)])
    write_parquet(tmp_path / "clothes/test-00000-of-00001.parquet", images[40:], [k % 3 for k in range(12)])
    return tmp_path / "clothes"


def load(name: str, **parameters: object) -> Data:
    return DATASETS.build(name, **parameters).load(Path("/nowhere"))


def rounded_means(pixels: np.ndarray, factor: int) -> np.ndarray:
    n, c, h, w = pixels.shape
    blocks = pixels.astype(np.float64).reshape(n, c, h // factor, factor, w // factor, factor)
    return np.round(blocks.mean((3, 5))).astype(np.uint8)


@pytest.mark.parametrize(("factor", "side"), [(2, 28), (4, 28), (7, 28), (14, 28), (2, 32), (8, 8)])
def test_means_are_those_of_numpy(factor: int, side: int) -> None:
    pixels = np.random.default_rng(factor).integers(0, 256, (5, 3, side, side), dtype=np.uint8)
    pixels[0], pixels[1] = 255, 0
    assert np.array_equal(means(torch.from_numpy(pixels), factor).numpy(), rounded_means(pixels, factor))


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    blocks = torch.tensor([[0, 0, 1, 1], [1, 1, 2, 2], [3, 3, 254, 254], [2, 2, 255, 255]], dtype=torch.uint8)
    assert means(blocks[None, None], 2).tolist() == [[[[0, 2], [2, 254]]]]  # of ½, 1½, 2½ and 254½


def test_all_splits_of_digits_are_averaged_and_nothing_else_changes() -> None:
    data, small = load("digits"), load("digits", size=4)
    assert (small.size, small.channels, small.counts) == (4, 1, data.counts)
    assert small.fingerprint != data.fingerprint == load("digits", size=8).fingerprint
    for (_, full), (_, images) in zip(data.splits(), small.splits(), strict=True):
        assert np.array_equal(images.pixels.numpy(), rounded_means(full.pixels.numpy(), 2))
        assert torch.equal(images.labels, full.labels)
    assert load("digits", size=2, limit=30).counts["train"] == 30


def test_sizes_share_the_decoded_images_and_nothing_that_is_computed_of_them(clothes: Path) -> None:
    data, small = (load("fashion_mnist", path=str(clothes), size=size) for size in (None, 14))
    assert (data.size, small.size, small.counts) == (28, 14, data.counts)
    assert len(list((cache_root() / "data").iterdir())) == 1
    for (_, full), (_, images) in zip(data.splits(), small.splits(), strict=True):
        assert np.array_equal(images.pixels.numpy(), rounded_means(full.pixels.numpy(), 2))
        assert torch.equal(images.labels, full.labels)
    assert small.fingerprint != data.fingerprint  # the key of classifiers and of moments
    record = DataRecord.parse(DataRecord.from_data(small).to_json())
    assert record is not None
    assert (record.shape, record.fingerprint) == ((1, 14), small.fingerprint)


def test_a_classifier_belongs_to_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddpmx.metrics import classifier as module

    monkeypatch.setattr(module, "_train", lambda *_: None)
    for size in (None, 4):
        module.classifier(load("digits", size=size))
    assert len(list((cache_root() / "classifiers").iterdir())) == 2
    with pytest.raises(SpecError, match="have 2×2 pixels: .* at least 4×4"):
        module.training_labels(load("digits", size=2))


def test_a_preview_has_the_shape_and_number_of_the_images(
    clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddpmx.data.stored.FEW_IMAGES", 10)
    seen = DATASETS.build("fashion_mnist", path=str(clothes), size=7).look(Path("/nowhere"))
    loaded = load("fashion_mnist", path=str(clothes), size=7)
    assert (seen.size, seen.counts, seen.fingerprint) == (7, loaded.counts, "not computed")
    assert not (seen.train.pixels != 0).any()


@pytest.mark.parametrize(("size", "nearest"), [(5, 4), (3, 2), (16, 8), (7, 8)])
def test_a_side_that_does_not_divide_names_those_that_do(size: int, nearest: int) -> None:
    with pytest.raises(SpecError) as caught:
        load("digits", size=size)
    assert str(caught.value) == (
        "size: should divide the images' own side of 8, so it can be 1, 2, 4 or 8,"
        f" not {size} (the nearest is {nearest})"
    )


def test_a_wrong_side_is_found_before_anything_is_loaded(tmp_path: Path, clothes: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        "name: a\nschedule: {name: linear, timesteps: 10}\n"
        "model: {name: convnext_unet, dim: 8, dim_mults: [1, 2]}\n"
        f"dataset: {{name: fashion_mnist, path: {clothes}, size: 10}}\n"
    )
    with pytest.raises(SpecError, match=r"spec\.yaml:4: dataset\.size: should divide .* nearest is 7"):
        examine(load_spec(file), {})
    summary, _ = examine(load_spec(file, ["dataset.size=14"]), {})
    assert "training images of 14×14, grey" in summary
    for wrong in (0, -2, "large", 14.5):
        with pytest.raises(SpecError, match=r"dataset\.size"):
            load_spec(file, [f"dataset.size={wrong}"])


@pytest.mark.parametrize("name", FIXED)
def test_specs_of_before_there_was_a_size_compare_as_they_did(name: str) -> None:
    blocks = {"name": "a", "model": "convnext_unet", "schedule": {"name": "linear", "timesteps": 10}}
    today, small = (
        Spec.model_validate({**blocks, "dataset": {"name": name, "size": size}}) for size in (None, 4)
    )
    recorded = today.resolved()
    assert recorded["dataset"].pop("size", "missing") is None
    assert fingerprinted(recorded, Path()) == comparable(today)
    assert training_key(comparable(small)) != training_key(comparable(today))


def test_a_side_of_14_is_halved_only_once() -> None:
    assert MODELS.build("convnext_unet", dim=8, dim_mults=[1, 2]).build(1, 14)
    with pytest.raises(SpecError, match=r"dim_mults: 3 levels .* divisible by 4, but it is 14"):
        MODELS.build("convnext_unet", dim=8, dim_mults=[1, 2, 4]).build(1, 14)
