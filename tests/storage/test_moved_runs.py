"""A run's folder that was copied or moved: `last` and `best` are folders, small files, or missing."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from forked import without_times

from ddpmx.storage import checkpoint_folder, manifest
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
STEPS = {"last": "6", "best": "3"}


@pytest.fixture
def linked(copied: Path) -> Path:
    """The trained run, with its first checkpoint as the best."""
    for state in copied.glob("checkpoints/*/state.json"):
        content = json.loads(state.read_text())["train"]
        row = {**content["row"], "val_loss": 9.0} if content["step"] == 6 else content["row"]
        state.write_text(
            json.dumps({"train": {**content, "best_step": 3, "best_epoch": 1, "row": row}, "optimizer": {}})
        )
    checkpoint_folder.set_links(copied / "checkpoints", 6, 3)
    return copied


def followed(checkpoints: Path) -> None:
    """As in a zip, or after `cp -rL`."""
    for name, step in STEPS.items():
        (checkpoints / name).unlink()
        shutil.copytree(checkpoints / step, checkpoints / name)


def followed_alone(checkpoints: Path) -> None:
    """Only `last` and `best` were copied."""
    followed(checkpoints)
    for step in STEPS.values():
        shutil.rmtree(checkpoints / step)


def as_text(checkpoints: Path) -> None:
    """As in a checkout on Windows."""
    for name, step in STEPS.items():
        (checkpoints / name).unlink()
        (checkpoints / name).write_text(step)


def lost(checkpoints: Path) -> None:
    for name in STEPS:
        (checkpoints / name).unlink()


def dangling(checkpoints: Path) -> None:
    for name in STEPS:
        (checkpoints / name).unlink()
        (checkpoints / name).symlink_to("12345")


def absolute(checkpoints: Path) -> None:
    for name, step in STEPS.items():
        (checkpoints / name).unlink()
        (checkpoints / name).symlink_to((checkpoints / step).resolve())


def garbage(checkpoints: Path) -> None:
    for name in STEPS:
        (checkpoints / name).unlink()
        (checkpoints / name).write_bytes(b"\xff\0 7")


WAYS = (followed, followed_alone, as_text, lost, dangling, absolute, garbage)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_commands_find_the_same_checkpoints(
    ddpmx: Run, linked: Path, tmp_path: Path, way: Callable[[Path], None]
) -> None:
    wanted = ddpmx("sample", linked, "-n", "2", "--out", tmp_path / "wanted.png")
    assert wanted.code == 0, wanted.err
    way(linked / "checkpoints")
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    linked.rename(moved)
    if way is absolute:
        lost(moved / "checkpoints")  # the links lead out of the moved run and would be refused
    before = sorted(path.name for path in (moved / "checkpoints").iterdir())
    for weights in ("best", "last"):
        result = ddpmx("sample", moved, "-n", "2", "--weights", weights, "--out", tmp_path / f"{weights}.png")
        assert result.code == 0, result.err
    assert (tmp_path / "best.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()
    assert (tmp_path / "last.png").read_bytes() != (tmp_path / "wanted.png").read_bytes()
    result = ddpmx("evaluate", moved, "--metrics", "pixel_fd", "-n", "2", "--json")
    assert (result.code, json.loads(result.out)["step"]) == (0, 3)
    assert ddpmx("export", moved, tmp_path / "exported", "--to", "diffusers").code == 0
    assert ddpmx("compare", moved).code == 0
    assert sorted(path.name for path in (moved / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_resume_puts_the_links_back_and_keeps_every_checkpoint(
    linked: Path, way: Callable[[Path], None]
) -> None:
    """The same calls as in `Session.restore` and `Session.save`."""
    checkpoints = linked / "checkpoints"
    content = {step: (checkpoints / step / "model.safetensors").read_bytes() for step in STEPS.values()}
    way(checkpoints)
    checkpoint_folder.normalize(checkpoints)
    assert checkpoint_folder.newest_intact(checkpoints, pytest.fail) == 6
    checkpoint_folder.roll_back(checkpoints, 6, 3)
    checkpoint_folder.prune(checkpoints, ())
    assert {name: (checkpoints / name).readlink().name for name in STEPS} == STEPS
    assert sorted(path.name for path in checkpoints.iterdir()) == ["3", "6", "best", "last"]
    assert {
        step: (checkpoints / step / "model.safetensors").read_bytes() for step in STEPS.values()
    } == content


def test_a_copied_run_continues_like_the_original(ddpmx: Run, copied: Path, tmp_path: Path) -> None:
    other = shutil.copytree(copied, tmp_path / "copy")  # links followed
    longer = ("-s", "train.epochs=3")
    for run in (copied, other):
        result = ddpmx("run", copied / "spec.yaml", "--run", run, *longer)
        assert result.code == 0, result.err
    first, second = ([without_times(event) for event in RunFolder(run).events()] for run in (copied, other))
    assert first == second
    for run in (copied, other):
        assert {(run / "checkpoints" / name).readlink().name for name in STEPS} <= {"6", "9"}
        assert not [path for path in (run / "checkpoints").iterdir() if "damaged" in path.name]


def test_an_intact_copy_replaces_a_damaged_checkpoint(linked: Path) -> None:
    checkpoints = linked / "checkpoints"
    whole = (checkpoints / "6" / "model.safetensors").read_bytes()
    for step in STEPS.values():  # with checksums, so that damage is noticed
        content = json.loads((checkpoints / step / "state.json").read_text())
        (checkpoints / step / "state.json").unlink()
        manifest.write(checkpoints / step, content)
    followed(checkpoints)
    (checkpoints / "6" / "model.safetensors").write_bytes(whole[:-1])
    (checkpoints / "best" / "model.safetensors").write_bytes(b"")
    checkpoint_folder.normalize(checkpoints)
    checkpoint_folder.roll_back(checkpoints, 6, 3)
    checkpoint_folder.prune(checkpoints, ())
    assert (checkpoints / "6" / "model.safetensors").read_bytes() == whole
    assert not checkpoint_folder.damage(checkpoints, 3)
    assert [path.name for path in checkpoints.iterdir() if "damaged" in path.name] == [
        f"best-damaged-{os.getpid()}"
    ]


def test_other_files_are_kept(linked: Path) -> None:
    checkpoints = linked / "checkpoints"
    for name in ("mine", ".git", "²", "6.bak", "007x"):
        (checkpoints / name).mkdir()
    for name in ("notes.txt", ".DS_Store", "9"):
        (checkpoints / name).write_text("mine")
    for name in (".5.123", ".6.old", ".5.123.old"):
        (checkpoints / name).mkdir()
    (checkpoints / ".last.123").symlink_to("6")
    assert checkpoint_folder.steps(checkpoints) == [3, 6]
    checkpoint_folder.prune(checkpoints, ())
    left = {path.name for path in checkpoints.iterdir()}
    assert left == {
        "mine",
        ".git",
        "²",
        "6.bak",
        "007x",
        "notes.txt",
        ".DS_Store",
        "9",
        "3",
        "6",
        "best",
        "last",
    }


def test_a_file_system_without_links(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    checkpoints = linked / "checkpoints"
    lost(checkpoints)
    checkpoint_folder.set_links(checkpoints, 6, 3)
    checkpoint_folder.prune(checkpoints, ())
    for name, step in STEPS.items():
        assert checkpoint_folder.find(checkpoints, name) == checkpoints / step
    checkpoint_folder.set_links(checkpoints, 3, 6)
    assert [checkpoint_folder.find(checkpoints, name) for name in STEPS] == [
        checkpoints / "3",
        checkpoints / "6",
    ]


def test_missing_files_of_a_moved_run_are_named(ddpmx: Run, copied: Path, tmp_path: Path) -> None:
    """A plugin's file that was not copied, and data that has moved."""
    text = (copied / "spec.yaml").read_text()
    (copied / "spec.yaml").write_text(text.replace("plugins: []", "plugins: [plugins/gone.py]"))
    result = ddpmx("sample", copied, "-n", "1", "--allow-plugins")
    assert result.code == 2
    assert str(copied / "plugins" / "gone.py") in result.err
    gone = tmp_path / "no such data"
    elsewhere = re.sub(r"\{name: digits,[^}]*\}", f'{{name: image_folder, path: "{gone}"}}', text)
    (copied / "spec.yaml").write_text(elsewhere)
    result = ddpmx("evaluate", copied, "--metrics", "pixel_fd", "-n", "2")
    assert result.code == 2
    assert str(gone) in result.err
    assert f"{copied / 'spec.yaml'}:" in result.err
