"""`export` reports a folder that it cannot write before it starts, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")

from diffusers_folders import sound

Ddpmx = Callable[..., Result]
CONTENT = ["README.md", "model_index.json", "scheduler", "unet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an imported run."""
    from ddpmx.exchange.importing import import_pipeline

    folder = tmp_path_factory.mktemp("imported")
    sound(folder / "in")
    return import_pipeline(folder / "in", name="run", out=folder)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("path", ["file", "full", "file/inside", "dangling/../file", "x" * 300, "file/"])
def test_an_unusable_folder_is_named(
    ddpmx: Ddpmx, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("ddpmx.exchange.export.open_run", None)  # fails if any work is done
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = names(tmp_path)
    result = ddpmx("export", run, "--to", "diffusers", f"{tmp_path}/{path}")
    assert result.code == 2
    assert result.err.startswith("error: FOLDER: ")
    assert names(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("I/O error: No space left on device")],
)
def test_a_full_disk_leaves_nothing(
    ddpmx: Ddpmx, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_text("half")
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("ddpmx.exchange.export.save_file", full)
        result = ddpmx("export", run, "--to", "diffusers", tmp_path / "new" / "out")
        assert result.code == 1
        assert "No space left on device" in result.err
        assert str(tmp_path / "new" / "out") in result.err
    assert names(tmp_path) == []
    assert ddpmx("export", run, "--to", "diffusers", tmp_path / "new" / "out").code == 0
    assert names(tmp_path / "new" / "out") == CONTENT


def test_an_empty_folder_may_be_a_link_or_the_working_folder(
    ddpmx: Ddpmx, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert ddpmx("export", run, "--to", "diffusers", tmp_path / "link").code == 0
    assert names(tmp_path / "empty") == CONTENT
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert ddpmx("export", run, "--to", "diffusers", ".").code == 0
    assert names(Path.cwd()) == CONTENT


def test_weights_that_are_not_finite_are_not_exported(ddpmx: Ddpmx, run: Path, tmp_path: Path) -> None:
    weights = load_file(run / "checkpoints" / "best" / "model.safetensors")
    broken = next(iter(weights))
    save_file({**weights, broken: weights[broken] * torch.nan}, tmp_path / "nan.safetensors")
    result = ddpmx(
        "export", run, "--to", "diffusers", tmp_path / "out", "--weights", tmp_path / "nan.safetensors"
    )
    assert result.code == 2
    assert "not finite" in result.err
    assert not (tmp_path / "out").exists()
