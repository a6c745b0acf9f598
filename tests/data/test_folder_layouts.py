"""Image folders: which are splits, classes or neither, what is left out, and that each run reports it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Result
from PIL import Image

from ddpmx import DATASETS, SpecError
from ddpmx.data import Data
from ddpmx.data.scan import UNREADABLE, suffixes
from ddpmx.runs.preflight import examine
from ddpmx.spec.loading import load as load_spec

Run = Callable[..., Result]
count = 0


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))


def write_images(folder: Path, n: int = 4, suffix: str = ".png", kind: str | None = None) -> None:
    """Write n different images."""
    global count
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(n):
        count += 1
        pixels = np.random.default_rng(count).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{count:05}{suffix}", kind)


def load(folder: Path, **parameters: object) -> Data:
    return DATASETS.build("image_folder", path=str(folder), validation=0.1, **parameters).load(Path())


def total(data: Data) -> int:
    return sum(data.counts.values())


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog", ".ipynb_checkpoints", "cat/.cache/deep", ".git/objects"):
        write_images(tmp_path / "set" / name)
    write_images(tmp_path / "set" / "cat", 1, suffix="x.png")
    next((tmp_path / "set" / "dog").iterdir()).rename(tmp_path / "set" / "dog" / ".hidden.png")
    data = load(tmp_path / "set")
    assert (total(data), data.classes) == (4 + 1 + 3, ("cat", "dog"))
    assert sorted(data.left_out) == ["1 hidden file", "3 hidden folders"]


def test_linked_folders_are_used_once_and_circles_end(tmp_path: Path) -> None:
    for name in ("set/cat", "set/dog/deep", "elsewhere"):
        write_images(tmp_path / name)
    (tmp_path / "set" / "cow").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "dog" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "deep" / "up").symlink_to("..")
    data = load(tmp_path / "set")
    assert (total(data), data.classes) == (12, ("cat", "cow", "dog"))
    assert data.left_out == ("2 links to a parent folder (round, up)",)


@pytest.mark.parametrize("link", ["cow", "cat/again"])
def test_a_folder_that_is_reached_twice_is_an_error(link: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "set" / name)
    (tmp_path / "set" / link).symlink_to(tmp_path / "set" / "dog")
    with pytest.raises(SpecError, match="the same folder, so its images would count twice"):
        load(tmp_path / "set")


def test_a_test_split_may_be_a_link_to_the_training_images(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "train")
    (tmp_path / "set" / "test").symlink_to("train")
    assert load(tmp_path / "set").counts == {"train": 3, "validation": 1, "test": 4}


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("bus", "car", "train"), "bus, car and train"),
        (("Train", "bus"), "Train and bus"),
        (("test", "cat", "dog"), "cat, dog and test"),
        (("val", "testing"), "testing and val"),
        (("test",), "test"),
    ],
)
def test_an_ambiguous_folder_is_reported_with_both_readings(
    folders: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    for name in folders:
        write_images(tmp_path / "set" / name)
    with pytest.raises(SpecError, match="could be splits .* or classes") as caught:
        load(tmp_path / "set")
    assert f"or classes ({named})" in str(caught.value)
    assert "`layout: splits` or `layout: classes`" in caught.value.hint
    as_classes = load(tmp_path / "set", layout="classes")
    assert total(as_classes) == 4 * len(folders)
    assert as_classes.classes == (tuple(sorted(folders)) if len(folders) > 1 else None)
    if "rain" in "".join(folders):
        as_splits = load(tmp_path / "set", layout="splits")
        assert (total(as_splits), as_splits.classes) == (4, None)
        (phrase,) = as_splits.left_out
        assert phrase.startswith(f"{4 * (len(folders) - 1)} images outside the splits (")
    else:
        with pytest.raises(SpecError, match="needs a folder 'train'"):
            load(tmp_path / "set", layout="splits")


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAINING", "testing"), ("train", "TEST")])
def test_splits_in_any_case(names: tuple[str, str], tmp_path: Path) -> None:
    for split in names:
        for name in ("cat", "dog"):
            write_images(tmp_path / "set" / split / name, 10)
    data = load(tmp_path / "set")
    assert data.counts == {"train": 18, "validation": 2, "test": 20}
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize("names", [("val", "validation"), ("Test", "test")])
def test_two_folders_for_one_split_are_an_error(names: tuple[str, str], tmp_path: Path) -> None:
    for name in ("train", *names):
        write_images(tmp_path / "set" / name)
    with pytest.raises(SpecError, match=rf"each of the folders {min(names)} and {max(names)} could be the"):
        load(tmp_path / "set")


def test_images_outside_the_splits_are_reported(tmp_path: Path) -> None:
    for name in ("train", "test", "extra", "."):
        write_images(tmp_path / "set" / name)
    data = load(tmp_path / "set")
    assert data.counts == {"train": 3, "validation": 1, "test": 4}
    assert data.left_out == ("8 images outside the splits (extra/)",)


def test_the_reason_for_missing_classes_is_reported(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "set" / "train" / name)
        write_images(tmp_path / "loose" / name)
    for name in ("cat", "owl"):
        write_images(tmp_path / "set" / "test" / name)
    write_images(tmp_path / "loose", 1)
    assert load(tmp_path / "set").left_out == ("all labels, because the training images have no folder owl",)
    assert load(tmp_path / "loose").left_out == (
        "all labels, because 1 train image is outside the folders cat and dog",
    )


@pytest.mark.parametrize(
    "suffix", [".PNG", ".jpeg", ".JPG", ".webp", ".bmp", ".tif", ".gif", ".ppm", ".pgm", ".jfif", ".tga"]
)
def test_all_formats_that_pillow_decodes_are_used(suffix: str, tmp_path: Path) -> None:
    write_images(tmp_path / "set", 3, suffix)
    write_images(tmp_path / "set", 3)
    assert total(load(tmp_path / "set")) == 6


def test_files_that_are_left_out_are_reported(tmp_path: Path) -> None:
    write_images(tmp_path / "set")
    for name in ("notes.txt", "labels.csv", "more.txt", "README", "figure.eps", "clip.mpg"):
        (tmp_path / "set" / name).write_text("no image")
    data = load(tmp_path / "set")
    assert total(data) == 4
    assert (
        data.left_out == ("6 files without an image suffix (.mpg, .eps, .csv, none, .txt)",)
        or len(data.left_out) == 1
    )
    assert all(suffix in data.left_out[0] for suffix in (".txt", ".csv", ".eps", ".mpg", "none"))
    assert not {".eps", ".pdf", ".h5"} & suffixes()
    assert "EPS" in UNREADABLE


def test_special_files_are_left_out_and_nothing_hangs(tmp_path: Path) -> None:
    write_images(tmp_path / "set")
    write_images(tmp_path / "set" / "folder.png", 2)
    os.mkfifo(tmp_path / "set" / "pipe.png")
    (tmp_path / "set" / "nothing.png").symlink_to("nowhere.png")
    (tmp_path / "set" / "circle.png").symlink_to("circle.png")
    (tmp_path / "set" / "null.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(tmp_path / "set", os.O_RDONLY)  # the path itself is too long for a socket
        listening.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    data = load(tmp_path / "set")
    assert total(data) == 6
    assert sorted(data.left_out) == [
        "2 broken links (circle.png, nothing.png)",
        "3 special files (null.png, pipe.png, socket.png)",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "my [v1] set",
        "a*b?c",
        "50% #1 & more",
        "two\nlines",
        "ünï çødé",
        "{a,b}",
        "::x",
        "~",
        os.fsdecode(b"\xff\xfe"),
    ],
)
def test_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    for label in ("cat", name):
        write_images(tmp_path / name / label)
    data = DATASETS.build("image_folder", path=f"./{name}", validation=0.1).load(tmp_path)
    assert total(data) == 8
    assert set(data.classes or ()) == {"cat", name}
    assert data.summary().isprintable()
    assert (
        DATASETS.build("image_folder", path=f"./{name}", validation=0.1).load(tmp_path).classes
        == data.classes
    )


@pytest.mark.parametrize("kind", ["file", "pipe", "missing", "circle", "too long", "empty"])
def test_a_path_that_is_not_a_folder_of_images_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("set" if kind != "too long" else "x" * 300)
    if kind == "file":
        path.write_text("")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "empty":
        write_images(path / ".hidden")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert ("1 hidden folder" if kind == "empty" else path.name[:20]) in str(caught.value)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "set" / "cat")
    write_images(tmp_path / "set" / "dog")
    inner = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return inner(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SpecError, match="dog cannot be read: Permission denied"):
        load(tmp_path / "set")


# what commands report about it


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name in ("cat", "dog", ".hidden"):
        write_images(tmp_path / "set" / name)
    file = tmp_path / "tiny.yaml"
    text = TINY.replace("dataset: digits", "dataset: {name: image_folder, path: set}").replace(
        "samples: 8", "samples: 8, metrics: [pixel_fd]"
    )
    file.write_text(text)
    return file


SUMMARY = (
    "data: image_folder: 7 training images of 8×8, grey; 1 validation; 2 classes (cat, dog);"
    " left out: 1 hidden folder"
)
NOTE = "'pixel_fd' compares with the training images, as 'image_folder' has no test split"


@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("validate",), ("show",)])
def test_every_command_reports_the_summary(
    command: tuple[str, ...], spec: Path, tmp_path: Path, ddpmx: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ddpmx(command[0], spec, *command[1:], *(["-s", "train.steps=1"] if command == ("run",) else []))
    assert result.code == 0, result.err
    output = " ".join((result.out + result.err).split())
    if command == ("show",):
        page = (tmp_path / "show-tiny.html").read_text()
        assert SUMMARY.removeprefix("data: ") in page
        assert NOTE.replace("'", "&#39;") in page
    else:
        assert SUMMARY in output
        assert f"note: {NOTE}" in output


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("path: set", "path: nowhere", "dataset.path: no such file or folder"),
        ("[pixel_fd]", "[{name: pixel_fd, reference: test}]", "has no test split"),
        ("[pixel_fd]", "[{name: precision_recall, k: 5}]", "needs at least 12 real images"),
        ("dim: 8,", "dim: 8, classes: true,", ""),
        ("path: set", "path: set/cat", ""),
    ],
)
def test_validate_looks_at_the_data(old: str, new: str, expected: str, spec: Path, ddpmx: Run) -> None:
    spec.write_text(spec.read_text().replace(old, new))
    result = ddpmx("validate", spec)
    assert result.code == (2 if expected else 0), result.err
    assert expected in result.err


def test_validate_finds_labels_that_are_not_there(spec: Path, ddpmx: Run) -> None:
    spec.write_text(
        spec.read_text().replace("dim: 8,", "dim: 8, classes: true,").replace("path: set", "path: set/cat")
    )
    result = ddpmx("validate", spec)
    assert (result.code, "have no labels" in result.err) == (2, True)


def test_validate_decodes_few_images_of_a_large_set(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports the same as loading the data set would."""
    import ddpmx.data.decode

    truth = load_spec(spec).dataset.load(Path()).summary()
    monkeypatch.setenv("DDPMX_CACHE", os.environ["DDPMX_CACHE"] + "2")
    monkeypatch.setattr("ddpmx.data.stored.FEW_IMAGES", 3)
    monkeypatch.setattr("ddpmx.data.folder.PREVIEWED", 2)
    decoded = []
    inner = ddpmx.data.decode.decode
    monkeypatch.setattr(
        "ddpmx.data.decode.decode",
        lambda encoded, where, *more: (decoded.append(where), inner(encoded, where, *more))[1],
    )
    assert examine(load_spec(spec), {})[0] == truth
    assert len(decoded) == 2


def test_validate_looks_once_at_the_data_of_a_sweep(
    spec: Path, ddpmx: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpmx.data.folder import ImageFolder

    looked = []
    inner = ImageFolder.look
    monkeypatch.setattr(
        ImageFolder, "look", lambda self, root: (looked.append(self.path), inner(self, root))[1]
    )
    spec.write_text(spec.read_text() + "sweep: {seed: [0, 1, 2]}\n")
    result = ddpmx("validate", spec)
    assert (result.code, len(looked)) == (0, 1)
    assert result.out.count(SUMMARY) == 1
