"""Paths: `~`, names with any characters, and pipes, devices, folders and links in place of files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import TINY, Result
from PIL import Image

from ddpmx import DATASETS, METRICS, SpecError
from ddpmx.cli import cli
from ddpmx.cli.options import UserPath
from ddpmx.data import Data
from ddpmx.files import cache_root
from ddpmx.metrics.inception import missing_inception
from ddpmx.runs.user_images import read_images
from ddpmx.spec.loading import load
from ddpmx.storage.checkpoint import find_weights, weights_file
from ddpmx.trackers.jsonl import JSONLines

Run = Callable[..., Result]
PLUGIN = "import ddpmx\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DDPMX_DATA", raising=False)
    return place


# The home folder


SPEC = (
    TINY.replace("dataset: digits", "dataset: {name: image_folder, path: ~/set}")
    .replace("lr: 1e-3", "lr: 1e-3, init_from: ~/weights.safetensors")
    .replace("samples: 8", "samples: 8, metrics: [{name: fid, weights: ~/inception.safetensors}]")
    + "track: [{name: jsonl, path: ~/events.jsonl}]\nplugins: [~/plugin.py]\n"
)


def paths(spec: object) -> list[str]:
    """All paths that a spec names."""
    data = spec.resolved()  # type: ignore[attr-defined]
    evaluate, train = data["evaluate"]["metrics"][0]["weights"], data["train"]["init_from"]
    return [data["dataset"]["path"], train, evaluate, data["track"][0]["path"], data["plugins"][0]]


def test_a_spec_may_name_the_home_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "plugin.py").write_text(PLUGIN)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "spec.yaml").write_text(SPEC)
    names = ("set", "weights.safetensors", "inception.safetensors", "events.jsonl", "plugin.py")
    wanted = [str(home / name) for name in names]
    assert paths(load(tmp_path / "elsewhere" / "spec.yaml")) == wanted
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    overrides = [
        "dataset={name: image_folder, path: ~/set}",
        "train.init_from=~/weights.safetensors",
        "evaluate.metrics=[{name: fid, weights: ~/inception.safetensors}]",
        "track=[{name: jsonl, path: ~/events.jsonl}]",
        "plugins=[~/plugin.py]",
    ]
    assert paths(load(tmp_path / "tiny.yaml", overrides)) == wanted
    assert not (tmp_path / "~").exists()


def test_relative_paths_are_the_spec_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "plugin.py").write_text(PLUGIN)
    (tmp_path / "a" / "b" / "spec.yaml").write_text(SPEC.replace("~/", "../"))
    assert {Path(path).parent for path in paths(load(tmp_path / "a" / "b" / "spec.yaml"))} == {tmp_path / "a"}


def test_an_unknown_user_is_an_error_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        TINY.replace("dataset: digits", "dataset: {name: image_folder, path: ~nobody_at_all/set}")
    )
    with pytest.raises(SpecError, match=r"spec\.yaml:3: dataset\.path: '~nobody_at_all/set'"):
        load(tmp_path / "spec.yaml")


def test_a_folder_that_no_spec_can_hold_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"not \xff UTF-8")
    folder.mkdir()
    (folder / "spec.yaml").write_text(
        TINY.replace("dataset: digits", "dataset: {name: image_folder, path: set}")
    )
    with pytest.raises(
        SpecError, match=r"dataset\.path: should be printable text, but contains the character U\+DCFF"
    ):
        load(folder / "spec.yaml")


def path_options() -> Iterator[tuple[str, click.Parameter]]:
    for name, command in cli.commands.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                yield name, parameter


def test_every_path_of_the_command_line_may_name_the_home_folder(home: Path) -> None:
    found = list(path_options())
    assert {"run", "sample", "compare", "sweep", "show", "validate", "export", "import", "track"} <= {
        name for name, _ in found
    }
    assert {type(parameter.type) for _, parameter in found} == {UserPath}
    for _, parameter in found:
        value: object = ("~/x",) if parameter.nargs == -1 or parameter.multiple else "~/x"
        converted = parameter.type_cast_value(click.Context(cli), value)
        assert converted in (home / "x", (home / "x",))


def test_the_command_line_writes_into_the_home_folder(
    ddpmx: Run, tiny: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ddpmx("show", tiny, "--out=~/page.html").code == 0
    assert (home / "page.html").exists()
    assert not (tmp_path / "~").exists()
    result = ddpmx("show", tiny, "--out=~nobody_at_all/page.html")
    assert (result.code, "--out: '~nobody_at_all" in result.err) == (2, True)


def test_the_environment_may_name_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", "~/kept")
    assert cache_root() == home / "kept"
    monkeypatch.setenv("DDPMX_DATA", "~/data")
    (home / "data" / "inception").mkdir(parents=True)
    write(home / "data" / "mnist" / "train.parquet", 10)
    assert total(DATASETS.build("mnist").load(Path())) == 10
    (home / "data" / "inception" / "inception.safetensors").write_text("")
    assert "no Inception weights" not in missing_inception(None)
    (home / "own.safetensors").write_text("")
    assert "no such file" not in missing_inception("~/own.safetensors")
    assert find_weights(home / "own.safetensors") == weights_file(home, "~/own.safetensors")


# Parquet files


def write(file: Path, count: int, grey: int = 100, kind: str = "PNG") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8), grey, np.uint8)).save(content, kind)
    with file.open("wb") as place:  # pyarrow cannot write to every name
        pq.write_table(pa.table({"image": [{"bytes": content.getvalue(), "path": None}] * count}), place)


def total(data: Data) -> int:
    return sum(data.counts.values())


NAMES = [
    "my [v1] set",
    "a*b?c",
    "50% #1 & more",
    "two\nlines",
    "ünï çødé",
    "{a,b}",
    "x::y",
    "hf:",
    "~",
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", NAMES)
def test_parquet_files_in_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    write(tmp_path / name / "train.parquet", 8)
    write(tmp_path / name / "test.parquet", 3, grey=50)
    write(tmp_path / "other" / "train.parquet", 99)  # a glob pattern would find this one
    for path, counts in (
        (f"./{name}", {"train": 7, "validation": 1, "test": 3}),
        (f"./{name}/train.parquet", {"train": 7, "validation": 1}),
    ):
        data = DATASETS.build("parquet", path=path).load(tmp_path)
        assert data.counts == counts
        assert set(data.train.pixels.flatten().tolist()) == {100}


def test_parquet_files_of_any_name(tmp_path: Path) -> None:
    for name in ("train [1].parquet", "train [2].parquet", "train?_1_.parquet", "test::x.parquet"):
        write(tmp_path / "set" / name, 4)
    assert DATASETS.build("parquet", path="set").load(tmp_path).counts == {
        "train": 11,
        "validation": 1,
        "test": 4,
    }


def test_a_temporary_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "[cache]"))
    write(tmp_path / "set" / "train.parquet", 8)
    write(tmp_path / "[set]" / "train.parquet", 9)
    assert [total(DATASETS.build("parquet", path=name).load(tmp_path)) for name in ("set", "[set]")] == [8, 9]


@pytest.mark.parametrize("kind", ["pipe", "nothing", "device"])
def test_what_is_no_parquet_file_is_named_and_nothing_hangs(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.parquet", 8)
    odd = tmp_path / "set" / "train-2.parquet"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    for path in ("set", "set/train-2.parquet"):
        with pytest.raises(SpecError, match=r"train-2\.parquet|is a pipe or a device"):
            DATASETS.build("parquet", path=path).load(tmp_path)


def test_folders_and_hidden_files_are_no_parquet_files(tmp_path: Path) -> None:
    write(tmp_path / "set" / "all.parquet" / "part-0.parquet", 8)
    (tmp_path / "set" / ".part.parquet").write_text("half a download")
    (tmp_path / "set" / ".git").mkdir()
    (tmp_path / "set" / ".git" / "x.parquet").write_text("")
    assert total(DATASETS.build("parquet", path="set").load(tmp_path)) == 8


def test_an_image_that_a_row_names_may_be_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "pipe.png")
    rows = pa.table({"image": [{"bytes": None, "path": "pipe.png"}] * 8})
    pq.write_table(rows, tmp_path / "set" / "train.parquet")
    with pytest.raises(SpecError, match="is a pipe or a device, not a file"):
        DATASETS.build("parquet", path="set").load(tmp_path)


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        ({"train": 8, "test": 0}, "the split 'test' of .* has no rows"),
        ({"train": 0}, "the split 'train' of .* has no rows"),
        ({"test": 8, "validation": 8}, "has no split 'train'"),
    ],
)
def test_splits_without_rows_are_named(tables: dict[str, int], wanted: str, tmp_path: Path) -> None:
    for name, count in tables.items():
        write(tmp_path / "set" / f"{name}.parquet", count)
    with pytest.raises(SpecError, match=wanted):
        DATASETS.build("parquet", path="set").load(tmp_path)


def test_parquet_files_in_no_split_are_said(tmp_path: Path) -> None:
    for name in ("train", "test", "notes"):
        write(tmp_path / "set" / f"{name}.parquet", 8)
    data = DATASETS.build("parquet", path="set").load(tmp_path)
    assert total(data) == 16
    assert data.left_out == ("1 parquet file in no split (notes.parquet)",)
    assert (
        DATASETS.build("parquet", path="set").load(tmp_path).left_out == data.left_out
    )  # from the cache too


def test_a_short_look_at_parquet_files_finds_what_loading_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "set" / "train.parquet", 40)
    write(tmp_path / "set" / "test.parquet", 30)
    dataset = DATASETS.build("parquet", path="set")
    monkeypatch.setattr("ddpmx.data.tabular.PREVIEWED", 5)
    looked = dataset.look(tmp_path)
    assert not list((cache_root() / "data").glob("*"))  # no data set was decoded completely
    assert looked.summary() == dataset.load(tmp_path).summary()
    METRICS.build("pixel_fd").check(looked)


def test_a_short_look_knows_classes_that_come_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(content, "PNG")
    (tmp_path / "set").mkdir()
    for split, values in (("train", [0] * 10 + [7] * 10), ("test", [7] * 4)):
        images = [{"bytes": content.getvalue(), "path": None}] * len(values)
        pq.write_table(pa.table({"image": images, "label": values}), tmp_path / "set" / f"{split}.parquet")
    monkeypatch.setattr("ddpmx.data.tabular.PREVIEWED", 3)
    looked = DATASETS.build("parquet", path="set").look(tmp_path)
    assert looked.classes == ("0", "7")
    METRICS.build("fd_cnn").check(looked)


# Something else in place of a file


@pytest.mark.parametrize("kind", ["pipe", "missing", "too long"])
def test_weights_and_pictures_that_are_no_files(kind: str, tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300 if kind == "too long" else "odd.png")
    if kind == "pipe":
        os.mkfifo(place)
    with pytest.raises(SpecError, match=place.name[:7]):
        find_weights(place)
    with pytest.raises(SpecError, match=place.name[:7]):
        read_images(place, 1, (1, 8, 8))


def test_a_folder_of_pictures_skips_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nowhere")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "c.png")
    assert read_images(tmp_path, 1, (1, 8, 8)).shape == (1, 1, 8, 8)


def test_events_go_into_devices_and_pipes_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    session = JSONLines(path="/dev/null").open(tmp_path / "run", {"name": "a"}, True)
    session.log({"event": "step"})
    session.close("finished")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):  # a plain open would wait forever
        JSONLines(path=str(tmp_path / "pipe")).open(tmp_path / "run", {"name": "a"}, True)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    session = JSONLines(path=str(tmp_path / "pipe")).open(tmp_path / "run", {"name": "a"}, True)
    session.log({"event": "step"})
    assert os.read(reader, 100) == b'{"run": "a", "id": "run", "event": "step"}\n'
    session.close("finished")
    os.close(reader)
