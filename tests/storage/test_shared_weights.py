"""`training.json`: commands find the weights of a shared training after a move, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from shared_sweeps import BASE, FIRST, OTHERS, evaluations, points, runs, status, with_checkpoints, write

from ddpmx.comparison.comparison import compare
from ddpmx.errors import SpecError
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
NAME = OTHERS[2]


@pytest.fixture
def moved(shared: Path, tmp_path: Path) -> Path:
    """The sweep's folder, copied to another place under another name."""
    shutil.copytree(shared / "runs" / "tiny", tmp_path / "out" / "renamed", symlinks=True)
    return tmp_path / "out" / "renamed"


def run_of(folder: Path, name: str) -> Path:
    (run,) = folder.glob(f"{name}/*/")
    return run


@pytest.mark.slow
def test_a_moved_sweep_keeps_its_weights(ddpmx: Run, moved: Path, tmp_path: Path) -> None:
    run, first = run_of(moved, NAME), run_of(moved, FIRST)
    assert RunFolder(run).training.path == first
    for which in ("best", "last"):
        file = checkpoint.weights_file(run, which)
        assert file.samefile(checkpoint.weights_file(first, which))
        assert file.is_relative_to(moved)
    (tmp_path / "link").symlink_to(run)  # `..` is taken from where the run is, not from the link
    assert RunFolder(tmp_path / "link").training.path.samefile(first)


def test_commands_use_the_weights_of_the_shared_training(ddpmx: Run, moved: Path, tmp_path: Path) -> None:
    run, first = run_of(moved, NAME), run_of(moved, FIRST)
    before = {file: file.stat().st_mtime_ns for file in first.rglob("*")}
    settings = ("-n", "4", "-s", "sampler={name: ddim, steps: 2}", "--out")
    for source, out in ((run, "shared.npz"), (first, "own.npz")):
        result = ddpmx("sample", source, *settings, tmp_path / out)
        assert result.code == 0, result.err
    assert (tmp_path / "shared.npz").read_bytes() == (tmp_path / "own.npz").read_bytes()
    measured = ddpmx("evaluate", run, "-n", "9", "--metrics", "pixel_fd")
    assert measured.code == 0, measured.err
    assert len(evaluations(run)) == 2
    exported = ddpmx("export", run, "--to", "diffusers", tmp_path / "exported")
    assert exported.code == 0, exported.err
    assert before == {file: file.stat().st_mtime_ns for file in first.rglob("*")}
    assert not (run / "checkpoints").exists()


def test_a_shared_training_initialises_others(moved: Path) -> None:
    run, first = run_of(moved, NAME), run_of(moved, FIRST)
    assert checkpoint.find_weights(run).samefile(checkpoint.find_weights(first))


def test_a_run_without_training_is_not_resumed(ddpmx: Run, shared: Path, moved: Path) -> None:
    run = run_of(moved, NAME)
    before = {file: file.stat().st_mtime_ns for file in moved.rglob("*")}
    result = ddpmx("run", run / "spec.yaml", "--run", run, "-s", "train.epochs=3")
    assert result.code == 2
    assert "shares that of" in result.err
    assert str(run_of(moved, FIRST)) in result.err
    assert before == {file: file.stat().st_mtime_ns for file in moved.rglob("*")}


def test_resume_starts_a_training_instead_of_taking_a_shared_one(
    ddpmx: Run, moved: Path, tmp_path: Path
) -> None:
    run = run_of(moved, NAME)
    RunFolder(run).set_status("interrupted")
    result = ddpmx("run", run / "spec.yaml", "--resume", "--out", moved)
    assert result.code == 0, result.err
    assert "starting a new one" in result.err
    (made,) = (path for path in moved.glob(f"{NAME}/*/") if path != run)
    assert RunFolder(made).shared is None
    assert (made / "checkpoints" / "last").exists()


def test_a_missing_training_is_one_clear_error_and_results_stay_readable(
    ddpmx: Run, moved: Path, tmp_path: Path
) -> None:
    run = run_of(moved, NAME)
    shutil.rmtree(run_of(moved, FIRST))
    result = ddpmx("sample", run, "--out", tmp_path / "a.png")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert f"shares the training of {moved / FIRST}" in line
    assert "which is not there" in line
    assert "together" in line
    assert compare([run]).groups[0].runs[0].results.keys() >= {"val_loss", "pixel_fd"}


def test_a_training_that_went_on_is_not_mistaken_for_the_measured_one(
    ddpmx: Run, moved: Path, tmp_path: Path
) -> None:
    run, first = run_of(moved, NAME), run_of(moved, FIRST)
    longer = ddpmx("run", first / "spec.yaml", "--run", first, "-s", "train.epochs=3")
    assert longer.code == 0, longer.err
    result = ddpmx("sample", run, "--out", tmp_path / "a.png")
    assert result.code == 2
    assert "up to step 6, but that ends at step 9" in result.err


HOSTILE = {
    "an absolute path": "/etc",
    "the folder itself": ".",
    "the folder itself by its name": "../{run}",
    "a folder inside": "samples",
    "another shared one": "../../{other}",
    "too far up": "../../../../tiny",
    "up after going down": "../a/../../../../b",
    "the root": "../../../../../../../../../../..",
    "a folder that is no run": "../../",
    "through a link": "../link/runs/tiny/{first}",
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_strangers_training_leads_nowhere_else(
    ddpmx: Run, moved: Path, shared: Path, tmp_path: Path, path: str
) -> None:
    run = run_of(moved, NAME)
    (run.parent / "link").symlink_to(shared)  # beside the run, so that it is not a link out of its folder
    names = {
        "run": run.name,
        "other": f"{OTHERS[0]}/{run_of(moved, OTHERS[0]).name}",
        "first": f"{FIRST}/{runs(shared / 'runs')[FIRST].name}",
    }
    written = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps({**written, "run": path.format(**names)}))
    with pytest.raises(SpecError):
        _ = RunFolder(run).training
    for command in (("sample", run, "--out", tmp_path / "a.png"), ("evaluate", run)):
        result = ddpmx(*command)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"run": 3}', '{"run": "", "step": 6, "validation_seed": 0}', "\0", '{"run": "../x"}'],
)
def test_a_damaged_file_is_named(ddpmx: Run, moved: Path, tmp_path: Path, content: str) -> None:
    run = run_of(moved, NAME)
    (run / "training.json").write_text(content)
    for command in (("sample", run, "--out", tmp_path / "a.png"), ("evaluate", run), ("compare", run)):
        result = ddpmx(*command)
        assert result.code == 2, result.err
        assert f"{run / 'training.json'} is damaged" in result.err
    rest = ddpmx("compare", moved)
    assert rest.code == 0
    assert "is skipped" in rest.err


def test_a_pipe_in_its_place_is_refused(moved: Path) -> None:
    import os

    run = run_of(moved, NAME)
    (run / "training.json").unlink()
    os.mkfifo(run / "training.json")
    with pytest.raises(SpecError, match="not a file"):
        RunFolder(run)


@pytest.mark.slow
def test_averages_are_rebuilt_from_the_snapshots_of_the_shared_training(ddpmx: Run, tmp_path: Path) -> None:
    """A sweep over their lengths has one training; each point is measured with its own length."""
    base = BASE.replace("lr: 1e-3", "lr: 1e-3, ema: {name: power, std: [0.1, 0.2]}")
    spec = write(tmp_path, "sweep: {weights.ema_std: [null, 0, 0.15]}\n", base)
    (first, *_), out = points(tmp_path).points, tmp_path / "runs"
    result = ddpmx("run", spec, "--point", first.name, "--out", out)
    assert result.code == 0, result.err
    own, plain, rebuilt = (runs(out)[spec.name] for spec in points(tmp_path).points)
    assert with_checkpoints(out) == [first.name]
    assert sorted(path.parent.parent.name for path in out.rglob("ema/")) == [first.name]
    assert [status(run).get("why") for run in (own, plain, rebuilt)] == ["", "", ""]
    values = [compare([run]).groups[0].standings["pixel_fd"].estimate.value for run in (own, plain, rebuilt)]
    assert len(set(values)) == 3
    assert values[1:] == [evaluations(run)[-1]["metrics"]["pixel_fd"] for run in (plain, rebuilt)]
    assert [len(evaluations(run)) for run in (plain, rebuilt)] == [1, 1]
    listed = [ddpmx("ema", run, "--std", "0.15") for run in (own, rebuilt)]
    assert [result.code for result in listed] == [0, 0]
    assert (own / "ema" / "std-0.15" / "ema.safetensors").exists()
