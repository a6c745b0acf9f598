"""Run folders on a full disk, on a read-only disk, and with damaged files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SHORT, TINY, Result, last, only_run
from forked import Death, command, differing

from ddpmx.storage import checkpoint_folder
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 7 steps that kept checkpoints 6 and 7; 7 is the best."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(SHORT)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 0, said
    run = only_run(folder / "runs")
    assert (last(run), (run / "checkpoints" / "best").readlink().name) == ("7", "7")
    return folder


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, for tests to damage."""
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def test_a_run_with_a_damaged_last_checkpoint_resumes_from_the_one_before(
    damaged: Path, finished: Path
) -> None:
    run = only_run(damaged / "runs")
    flip(run / "checkpoints" / "7" / "optimizer.safetensors")
    code, said = command(damaged, "run", "tiny.yaml", "--resume", "--run", run)
    assert code == 0, said
    problem = "7/optimizer.safetensors is damaged: its checksum does not match"
    assert f"{problem}; resuming from the checkpoint of step 6" in said
    assert differing(run, only_run(finished / "runs")) == []


def test_resuming_a_finished_run_writes_a_lost_report_again(damaged: Path) -> None:
    run = only_run(damaged / "runs")
    for lost in ("report.html", "samples/final.png"):
        (run / lost).unlink()
    code, said = command(damaged, "run", "tiny.yaml", "--resume", "--run", run)
    assert code == 0, said
    assert "status finished" in (run / "report.html").read_text()
    assert (run / "samples" / "final.png").is_file()


def test_no_intact_checkpoint_is_exit_1_and_changes_nothing(damaged: Path) -> None:
    run = only_run(damaged / "runs")
    for step in checkpoint_folder.steps(run / "checkpoints"):
        flip(run / "checkpoints" / str(step) / "ema.safetensors")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, said = command(damaged, "run", "tiny.yaml", "--resume", "--run", run)
    assert code == 1
    assert "no checkpoint can be resumed from" in said
    assert "7/ema.safetensors is damaged" in said
    assert "6/ema.safetensors is damaged" in said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_damaged_best_checkpoint_is_reported_and_replaced(damaged: Path) -> None:
    run = only_run(damaged / "runs")
    checkpoint_folder.set_links(run / "checkpoints", 7, 6)
    state = run / "checkpoints" / "7" / "state.json"
    content = json.loads(state.read_text())["train"]
    state.write_text(json.dumps({"train": {**content, "best_step": 6, "best_loss": 0.0}, "optimizer": {}}))
    flip(run / "checkpoints" / "6" / "model.safetensors")
    code, said = command(damaged, "run", "tiny.yaml", "--resume", "--run", run, "-s", "train.steps=8")
    assert code == 0, said
    assert "6/model.safetensors is damaged" in said
    assert (run / "checkpoints" / "best").resolve().name in ("7", "8")


@pytest.mark.parametrize(
    "arguments",
    [("sample", "RUN", "-n", "2"), ("evaluate", "RUN"), ("export", "RUN", "out", "--to", "diffusers")],
)
@pytest.mark.parametrize("name", ["ema.safetensors", "state.json"])
def test_commands_on_a_damaged_best_say_so(damaged: Path, name: str, arguments: tuple[str, ...]) -> None:
    run = only_run(damaged / "runs")
    flip(run / "checkpoints" / "7" / name)
    code, said = command(damaged, *(str(run) if argument == "RUN" else argument for argument in arguments))
    assert code in (1, 2)
    assert f"{name} is damaged" in said
    assert "Traceback" not in said


def test_an_event_after_an_incomplete_line_is_intact(damaged: Path) -> None:
    folder = RunFolder(only_run(damaged / "runs"))
    before = [*folder.events()]
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')
    event = {"event": "end", "status": "failed", "step": 7}
    folder.add_event(event)
    assert [*folder.events()] == [*before, event]


@pytest.mark.slow
def test_no_room_for_a_checkpoint_fails_and_resumes_with_room(tmp_path: Path, finished: Path) -> None:
    """A limit on the file size simulates a full disk on any system."""
    (tmp_path / "tiny.yaml").write_text(SHORT)
    assert command(tmp_path, "run", "tiny.yaml", death=Death("epoch-0002.png", operation="open"))[0] == -9
    run = only_run(tmp_path / "runs")
    sizes = {file.stem: file.stat().st_size for file in (run / "checkpoints" / "4").iterdir()}
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume", largest_file=sizes["optimizer"] - 1000)
    assert code == 1
    assert "Traceback" not in said
    assert f"saved: {run.relative_to(tmp_path)}/checkpoints/last (step 4)" in said
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    assert checkpoint_folder.newest_intact(run / "checkpoints", pytest.fail) == 4
    assert not list((run / "checkpoints").glob(".*"))
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(run, only_run(finished / "runs")) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk; a second call changes its options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = "remount," if folder.is_mount() else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_fails_and_resumes_after_space_is_made(
    disk: Callable[[str], Path], finished: Path
) -> None:
    one = sum(file.stat().st_size for file in (only_run(finished / "runs") / "checkpoints" / "7").iterdir())
    folder = disk(f"size={int(2.5 * one) // 1024 + 300}k")
    (folder / "tiny.yaml").write_text(SHORT)
    code, said = command(folder, "run", "tiny.yaml")
    assert code == 1, said
    assert "No space left" in said
    assert "Traceback" not in said
    run = only_run(folder / "runs")
    assert checkpoint_folder.newest_intact(run / "checkpoints", pytest.fail) == int(last(run))
    disk("size=100m")
    code, said = command(folder, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    assert differing(run, only_run(finished / "runs")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_read_only_folder_is_exit_2(disk: Callable[[str], Path], tmp_path: Path) -> None:
    out = disk("size=20m")
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert (
        command(tmp_path, "run", "tiny.yaml", "--out", out, "-s", "dataset.limit=64", "-s", "train.steps=1")[
            0
        ]
        == 0
    )
    disk("ro")
    code, said = command(tmp_path, "run", "tiny.yaml", "--out", out)
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert "cannot be written: Read-only file system" in said
    code, said = command(
        tmp_path,
        "run",
        "tiny.yaml",
        "--out",
        out,
        "-s",
        "dataset.limit=64",
        "-s",
        "train.steps=2",
        "--resume",
    )
    assert code == 2
    assert "cannot be written: Read-only file system" in said
