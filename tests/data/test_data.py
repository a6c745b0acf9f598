"""Data sets: where they are found, how they are decoded and split, and what is rejected."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Features
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.datasets import load_digits

import ddpmx.data.decode
from ddpmx import DATASETS, SpecError
from ddpmx.data import Data, Images, cache
from ddpmx.errors import RunError
from ddpmx.files import cache_root

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DDPMX_DATA", raising=False)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all images decoded so far."""
    names: list[str] = []
    decode: Callable[..., np.ndarray] = ddpmx.data.decode.decode

    def counted(encoded: bytes | Path, where: str, *arguments: object) -> np.ndarray:
        names.append(where)
        return decode(encoded, where, *arguments)

    monkeypatch.setattr("ddpmx.data.decode.decode", counted)
    return names


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (8, 8), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(file: Path, images: list[bytes], labels: list[int] | None = None) -> None:
    """Write a file like those on the Hub: typed columns `image` and `label`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": ImageFeature()}
    columns: dict[str, list[object]] = {"image": [{"bytes": image, "path": None} for image in images]}
    if labels is not None:
        features["label"], columns["label"] = ClassLabel(names=list(CLASSES)), list(labels)
    pq.write_table(pa.table(columns, Features(features).arrow_schema), file)


def write_pngs(folder: Path, count: int, *shape: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(picture(k, *shape)).save(folder / f"{k:03d}.png")


def load(name: str, root: Path | None = None, **parameters: object) -> Data:
    return DATASETS.build(name, **parameters).load(root or Path("/nowhere"))


def rows(pixels: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in pixels}


# digits


def test_digits_are_the_scans_each_in_one_split() -> None:
    data, scans = load("digits"), load_digits()
    pixels = torch.cat([images.pixels for _, images in data.splits()])
    truth = np.round(scans.images * 255 / 16).astype(np.uint8)
    assert sorted(image.numpy().tobytes() for image in pixels) == sorted(image.tobytes() for image in truth)
    assert data.counts == {"train": 1437, "validation": 180, "test": 180}
    assert (data.channels, data.size, data.flip) == (1, 8, False)
    label_of = {image.tobytes(): label for image, label in zip(truth, scans.target, strict=True)}
    for _, images in data.splits():
        assert [label_of[image.numpy().tobytes()] for image in images.pixels] == images.labels.tolist()


def test_digits_are_stratified() -> None:
    data = load("digits")
    fraction = torch.bincount(torch.from_numpy(load_digits().target)) / 1797
    for _, images in data.splits():
        assert ((torch.bincount(images.labels) - fraction * len(images)).abs() <= 1).all()


def test_a_smaller_limit_is_contained_in_a_larger_one() -> None:
    small, large = load("digits", limit=50), load("digits", limit=200)
    assert small.counts == {"train": 50, "validation": 180, "test": 180}
    assert rows(small.train.pixels) < rows(large.train.pixels) < rows(load("digits").train.pixels)


def test_digits_are_never_flipped() -> None:
    for name in ("digits", "mnist"):
        with pytest.raises(SpecError, match="unknown key"):
            load(name, flip=True)


def test_the_fingerprint_follows_the_content() -> None:
    data = load("digits")
    again = load("digits")
    pixels = data.train.pixels.clone()
    pixels[0, 0, 0, 0] ^= 1
    changed = replace(data, train=Images(pixels, data.train.labels), fingerprint="")
    relabelled = replace(data, train=Images(data.train.pixels, data.train.labels.roll(1)), fingerprint="")
    assert data.fingerprint == again.fingerprint
    assert len({data.fingerprint, changed.fingerprint, relabelled.fingerprint}) == 3


# parquet


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_parquet_equals_a_plain_decode(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    images = [encoded(picture(k, *shape), kind) for k in range(60)]
    write_parquet(tmp_path / "set/train-00000-of-00001.parquet", images[:40], [k % 3 for k in range(40)])
    write_parquet(tmp_path / "set/test-00000-of-00001.parquet", images[40:], [k % 2 for k in range(20)])
    data = load("parquet", tmp_path, path="set", validation=0.1)

    def truth(file: str) -> tuple[np.ndarray, list[int]]:
        table = pq.read_table(tmp_path / "set" / file)
        pixels = [np.atleast_3d(Image.open(io.BytesIO(cell["bytes"]))) for cell in table["image"].to_pylist()]
        return np.stack(pixels).transpose(0, 3, 1, 2), table["label"].to_pylist()

    pixels, labels = truth("test-00000-of-00001.parquet")
    np.testing.assert_array_equal(data.test.pixels, pixels)
    assert data.test.labels.tolist() == labels
    pixels, labels = truth("train-00000-of-00001.parquet")
    label_of = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    assert rows(data.train.pixels) | rows(data.validation.pixels) == set(label_of)
    assert data.counts == {"train": 36, "validation": 4, "test": 20}
    for images_of in (data.train, data.validation):
        assert [label_of[image.numpy().tobytes()] for image in images_of.pixels] == images_of.labels.tolist()
    assert data.classes == CLASSES


def test_a_data_set_is_decoded_only_once(tmp_path: Path, decodes: list[str]) -> None:
    file = tmp_path / "train.parquet"
    write_parquet(file, [encoded(picture(k)) for k in range(20)], [k % 3 for k in range(20)])
    first = load("parquet", tmp_path, path="train.parquet")
    second = load("parquet", tmp_path, path="train.parquet")
    assert len(decodes) == 20
    for one, other in zip(first.splits(), second.splits(), strict=True):
        assert torch.equal(one[1].pixels, other[1].pixels)
        assert torch.equal(one[1].labels, other[1].labels)
    assert (first.classes, first.fingerprint) == (second.classes, second.fingerprint)
    assert load("parquet", tmp_path, path="train.parquet", limit=10, validation=0.2).counts == {
        "train": 8,
        "validation": 2,
    }
    assert len(decodes) == 20


def test_other_content_is_decoded_anew(tmp_path: Path, decodes: list[str]) -> None:
    for seed in (0, 1):
        write_parquet(tmp_path / "train.parquet", [encoded(picture(seed * 100 + k)) for k in range(20)])
        data = load("parquet", tmp_path, path="train.parquet")
        assert rows(data.train.pixels) < {picture(seed * 100 + k).tobytes() for k in range(20)}
    assert len(decodes) == 40


def test_a_damaged_cache_entry_is_recreated_and_is_the_only_file(tmp_path: Path, decodes: list[str]) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(picture(k)) for k in range(20)])
    first = load("parquet", tmp_path, path="train.parquet")
    (cached,) = (file for file in cache_root().rglob("*") if file.is_file())
    cached.write_bytes(cached.read_bytes()[:-100])
    assert load("parquet", tmp_path, path="train.parquet").fingerprint == first.fingerprint
    assert len(decodes) == 40
    assert [file for file in cache_root().rglob("*") if file.is_file()] == [cached]


def test_validation_is_held_out_of_training_whatever_the_limit(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(picture(k)) for k in range(100)])
    whole = load("parquet", tmp_path, path="train.parquet", validation=0.2)
    part = load("parquet", tmp_path, path="train.parquet", validation=0.2, limit=50)
    assert whole.counts == {"train": 80, "validation": 20}
    assert part.counts == {"train": 40, "validation": 10}
    assert not rows(whole.train.pixels) & rows(whole.validation.pixels)
    assert rows(part.validation.pixels) < rows(whole.validation.pixels)


def test_a_validation_split_of_its_own_is_used(tmp_path: Path) -> None:
    for split, seeds in (("train", range(20)), ("validation", range(20, 25))):
        write_parquet(tmp_path / f"set/{split}.parquet", [encoded(picture(k)) for k in seeds])
    data = load("parquet", tmp_path, path="set")
    assert data.counts == {"train": 20, "validation": 5}
    assert rows(data.validation.pixels) == {picture(k).tobytes() for k in range(20, 25)}


def test_columns_without_types_are_found_by_name_and_text_labels_sorted(tmp_path: Path) -> None:
    images, animals = [encoded(picture(k)) for k in range(20)], [("owl", "cat")[k % 2] for k in range(20)]
    pq.write_table(
        pa.table({"img": images, "animal": animals, "label": [0] * 20}), tmp_path / "train.parquet"
    )
    data = load("parquet", tmp_path, path="train.parquet", label_column="animal")
    assert data.classes == ("cat", "owl")
    even = rows(torch.from_numpy(np.stack([picture(k) for k in range(0, 20, 2)])))
    assert all(
        (image.numpy().tobytes() in even) == (label == 1)
        for image, label in zip(data.train.pixels, data.train.labels, strict=True)
    )


def test_hidden_test_labels_are_none(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "set/train.parquet", [encoded(picture(k)) for k in range(20)], [k % 3 for k in range(20)]
    )
    write_parquet(tmp_path / "set/test.parquet", [encoded(picture(k)) for k in range(5)], [-1] * 5)
    data = load("parquet", tmp_path, path="set")
    assert data.test.labels is None
    assert data.train.labels is not None


def test_the_damaged_row_is_named(tmp_path: Path) -> None:
    images = [encoded(picture(k, 16, 16)) for k in range(20)]
    images[13] = images[13][:120]
    write_parquet(tmp_path / "train.parquet", images)
    with pytest.raises(SpecError, match=r"row 13 of the train split .*cannot be read as an image"):
        load("parquet", tmp_path, path="train.parquet")
    assert not [file for file in cache_root().rglob("*") if file.is_file()]


def test_the_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "set/train.parquet"
    write_parquet(file, [encoded(picture(k)) for k in range(20)])
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SpecError, match=r"train\.parquet cannot be read as parquet"):
        load("parquet", tmp_path, path="set")


def test_an_unknown_column_gets_the_nearest_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(picture(k)) for k in range(20)])
    with pytest.raises(SpecError, match="did you mean 'image'") as caught:
        load("parquet", tmp_path, path="train.parquet", image_column="imagee")
    assert caught.value.field == "image_column"


# image folders


def test_a_folder_of_classes_with_a_test_split(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 3)):
        for k, name in enumerate(CLASSES):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(picture(1000 * k + 100 * (split == "test") + i)).save(folder / f"{i}.png")
    data = load("image_folder", tmp_path, path="set", validation=0.25, flip=True)
    assert data.counts == {"train": 27, "validation": 9, "test": 9}
    assert data.classes == CLASSES
    assert data.flip
    for split, images in data.splits():
        for image, label in zip(images.pixels, images.labels, strict=True):
            class_images = {
                picture(1000 * int(label) + 100 * (split == "test") + i).tobytes() for i in range(12)
            }
            assert image.numpy().tobytes() in class_images


def test_loose_images_have_no_labels_and_no_test_split(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", 20)
    (tmp_path / "set" / "._000.png").write_text("what a Mac leaves behind")
    data = load("image_folder", tmp_path, path="set")
    assert data.counts == {"train": 19, "validation": 1}
    assert (data.test, data.classes, data.train.labels) == (None, None, None)


def test_grey_and_coloured_images_become_rgb_unless_channels_is_set(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", 20)
    Image.fromarray(picture(99, 8, 8, 3)).save(tmp_path / "set" / "z.png")
    data = load("image_folder", tmp_path, path="set")
    everything = rows(torch.cat([data.train.pixels, data.validation.pixels]))
    assert {np.stack([picture(k)] * 3).tobytes() for k in range(20)} | {
        picture(99, 8, 8, 3).transpose(2, 0, 1).tobytes()
    } == everything
    grey = load("image_folder", tmp_path, path="set", channels=1)
    luma = np.asarray(Image.fromarray(picture(99, 8, 8, 3)).convert("L")).tobytes()
    assert rows(torch.cat([grey.train.pixels, grey.validation.pixels])) == {
        picture(k).tobytes() for k in range(20)
    } | {luma}


def test_size_crops_the_centre_and_scales_the_shorter_side(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    truth = set()
    for name, shape, box in (("wide", (32, 64, 3), (8, 0, 24, 16)), ("tall", (48, 32, 3), (0, 4, 16, 20))):
        image = Image.fromarray(picture(0, *shape))
        image.save(tmp_path / "set" / f"{name}.png")
        scaled = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        truth.add(np.asarray(scaled.crop(box)).transpose(2, 0, 1).tobytes())
    data = load("image_folder", tmp_path, path="set", size=16)
    assert rows(torch.cat([data.train.pixels, data.validation.pixels])) == truth


def test_orientation_transparency_palettes_and_16_bits_are_understood() -> None:
    from ddpmx.data.decode import decode

    def decoded(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return decode(file.getvalue(), "a test")

    two = np.zeros((8, 8), np.uint8)
    two[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    np.testing.assert_array_equal(decoded(Image.fromarray(two), "JPEG", exif=exif, quality=100), two[::-1])
    see_through = np.zeros((8, 8, 4), np.uint8)
    see_through[:4] = (10, 20, 30, 255)
    assert decoded(Image.fromarray(see_through))[[0, 7], 0].tolist() == [[10, 20, 30], [255, 255, 255]]
    colours = np.repeat(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8), 4, 0).repeat(8, 1)
    np.testing.assert_array_equal(
        decoded(Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)), colours
    )
    np.testing.assert_array_equal(decoded(Image.fromarray(two.astype(np.uint16) * 257)), two)


def test_the_truncated_file_is_named(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", 20)
    broken = tmp_path / "set" / "007.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(SpecError, match=r"007\.png cannot be read as an image"):
        load("image_folder", tmp_path, path="set")


def test_a_file_of_each_size_is_named(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set/a", 3, 8, 8)
    write_pngs(tmp_path / "set/b", 3, 16, 16)
    with pytest.raises(SpecError, match=r"8×8 \(.*a/000\.png\) and 16×16 \(.*b/000\.png\)") as caught:
        load("image_folder", tmp_path, path="set")
    assert caught.value.field == "size"


def test_oblong_images_ask_for_a_size(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", 3, 8, 12)
    with pytest.raises(SpecError, match=r"000\.png is not square \(12×8\).*`size: N`"):
        load("image_folder", tmp_path, path="set")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pngs(tmp_path / "set", 3, 64, 64)
    for limit in (3000, 1000):  # PIL warns above its limit, and raises above twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(SpecError, match=r"000\.png.*decompression bomb"):
            load("image_folder", tmp_path, path="set")


def test_a_changed_file_is_decoded_anew(tmp_path: Path, decodes: list[str]) -> None:
    write_pngs(tmp_path / "set", 20)
    first = load("image_folder", tmp_path, path="set")
    assert load("image_folder", tmp_path, path="set").fingerprint == first.fingerprint
    assert len(decodes) == 20
    Image.fromarray(picture(500)).save(tmp_path / "set" / "003.png")
    assert load("image_folder", tmp_path, path="set").fingerprint != first.fingerprint


@pytest.mark.parametrize("empty", ["", "train"])
def test_a_folder_without_images(tmp_path: Path, empty: str) -> None:
    (tmp_path / "set" / empty).mkdir(parents=True)
    with pytest.raises(SpecError, match="no image files in"):
        load("image_folder", tmp_path, path="set")


# splits


def test_at_least_one_image_validates_and_one_trains(tmp_path: Path) -> None:
    write_pngs(tmp_path / "set", 20)
    assert load("image_folder", tmp_path, path="set", validation=0.001).counts == {
        "train": 19,
        "validation": 1,
    }
    with pytest.raises(SpecError, match="20 training images") as caught:
        load("image_folder", tmp_path, path="set", validation=0.99)
    assert caught.value.field == "validation"


def test_splits_that_do_not_fit_together_are_refused() -> None:
    images = Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4))
    good = Data("good", images, images, classes=("a", "b", "c", "d"))
    for change, message in (
        ({"validation": Images(images.pixels[:0])}, "validation split of 'good' has no images"),
        (
            {"test": Images(torch.zeros(4, 1, 9, 9, dtype=torch.uint8))},
            r"test images of 'good' are \[1, 9, 9\]",
        ),
        ({"train": Images(images.pixels.float())}, "should be uint8"),
        ({"train": Images(images.pixels[..., :7])}, r"size, size\], not .* \[4, 1, 8, 7\]"),
        ({"classes": ("a", "b")}, "labels of the train split"),
        ({"train": Images(images.pixels, torch.arange(3))}, "should be 4 indices"),
    ):
        with pytest.raises(SpecError, match=message):
            replace(good, **change)


# the cache


def test_a_file_that_others_write_at_the_same_time_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "shared.safetensors"

    def write(k: int) -> bool:
        cache.write(path, {"x": torch.full((50_000,), k)}, {"k": k})
        entry = cache.read(path, lambda tensors, facts: (tensors, facts))
        return entry is not None and bool((entry[0]["x"] == entry[1]["k"]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(64)))
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_is_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "file"))
    write_pngs(tmp_path / "set", 20)
    with pytest.raises(RunError, match="DDPMX_CACHE"):
        load("image_folder", tmp_path, path="set")


# where data come from


def test_path_goes_before_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, folder in enumerate(("here", "root/fashion_mnist/fashion_mnist")):
        write_parquet(
            tmp_path / folder / "train-00000-of-00001.parquet",
            [encoded(picture(100 * seed + k)) for k in range(20)],
        )
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path / "root"))
    assert rows(load("fashion_mnist", tmp_path, path="here").train.pixels) < {
        picture(k).tobytes() for k in range(20)
    }
    assert rows(load("fashion_mnist", tmp_path).train.pixels) < {
        picture(100 + k).tobytes() for k in range(20)
    }


def test_a_repository_copied_under_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, config in enumerate(("large", "small")):
        write_parquet(
            tmp_path / f"hub/me/owls/{config}/train.parquet",
            [encoded(picture(100 * seed + k)) for k in range(20)],
        )
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path))
    assert rows(load("hub", repo="me/owls", config="small").train.pixels) < {
        picture(100 + k).tobytes() for k in range(20)
    }


def test_a_path_that_does_not_exist_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    with pytest.raises(SpecError, match="no such file or folder.*nowhere") as caught:
        load("mnist", tmp_path, path="nowhere")
    assert caught.value.field == "path"


@pytest.mark.parametrize(("name", "parameters"), [("mnist", {}), ("hub", {"repo": "nobody/nothing"})])
def test_missing_data_lists_the_three_ways_to_provide_it(
    monkeypatch: pytest.MonkeyPatch, name: str, parameters: dict[str, str]
) -> None:
    from huggingface_hub import HfApi

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    with pytest.raises(SpecError, match=r"no route to host.*three ways.*dataset\.path.*\$DDPMX_DATA/.*Hub"):
        load(name, **parameters)


def test_the_hub_is_read_through_datasets_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[str]
) -> None:
    """A local folder plays the Hub; everything after the request for the repository's commit is real."""
    import datasets
    from huggingface_hub import HfApi

    write_parquet(
        tmp_path / "remote/train.parquet",
        [encoded(picture(k)) for k in range(20)],
        [k % 3 for k in range(20)],
    )
    real, asked = datasets.load_dataset, []

    def load_dataset(name: str, config: str | None, *, revision: str, **options: object) -> object:
        asked.append((name, config, revision))
        return real(str(tmp_path / "remote"), streaming=options["streaming"], cache_dir=options["cache_dir"])

    info = type("Info", (), {"sha": "c0ffee"})()
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, repo, revision, timeout: info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load("hub", repo="me/owls", config="small", revision="main")
    assert load("hub", repo="me/owls", config="small", revision="main").fingerprint == data.fingerprint
    assert asked == [("me/owls", "small", "c0ffee")]
    assert len(decodes) == 20


def test_importing_the_data_sets_imports_no_heavy_library() -> None:
    libraries = ("datasets", "sklearn", "pyarrow", "scipy")
    code = f"import ddpmx.data, sys; print([name for name in {libraries} if name in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
        ).stdout.strip()
        == "[]"
    )
