"""Data is part of a run's identity: if it changed, resuming and evaluating need the user's permission."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, Result, epochs, only_run
from PIL import Image

from ddpmx.data.base import Data
from ddpmx.data.digits import Digits
from ddpmx.data.folder import ImageFolder
from ddpmx.runs.known_runs import finished_runs
from ddpmx.spec.loading import load
from ddpmx.storage import provenance
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
SPEC = (
    TINY.replace("dataset: digits", "dataset: {name: image_folder, path: set}")
    .replace("{steps: 12, batch_size: 64, lr: 1e-3}", "{epochs: 1, batch_size: 16, lr: 1e-3}")
    .replace("samples: 8", "samples: 8, metrics: [{name: pixel_fd, reference: train}]")
)


def add_images(folder: Path, start: int, stop: int) -> None:
    """Write images of noise, with these numbers."""
    folder.mkdir(exist_ok=True)
    for i in range(start, stop):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


def environment(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "environment.json").read_text())
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its 24 images and a finished run."""
    folder = tmp_path_factory.mktemp("made")
    add_images(folder / "set", 0, 24)
    (folder / "a.yaml").write_text(SPEC)
    from ddpmx.runs.run import run
    from ddpmx.training.experiment import choose_device

    run(load(folder / "a.yaml"), out=folder / "runs", device=choose_device("cpu"))
    return folder


@pytest.fixture
def workdir(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same folder as working directory, restored after the test: the run's spec contains its paths."""
    shutil.copytree(made, tmp_path / "backup", symlinks=True)
    monkeypatch.chdir(made)
    yield made
    shutil.rmtree(made)
    shutil.copytree(tmp_path / "backup", made, symlinks=True)


def both_are_named(result: Result, run: Path) -> bool:
    said = " ".join(result.err.split())
    had = environment(run)["data"]["fingerprint"]
    return (
        result.code == 2
        and had in said
        and "(train 23, validation 1)" in said
        and "(train 53, validation 3)" in said
    )


def test_a_resumed_run_needs_its_data(ddpmx: Run, workdir: Path) -> None:
    run = only_run(workdir / "runs")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    add_images(workdir / "set", 24, 56)
    for how in (("--run", run), ("--resume",)):
        result = ddpmx("run", "a.yaml", *how, "-s", "train.epochs=2")
        assert both_are_named(result, run), result.err
        assert "a.yaml:3: dataset" in result.err
        assert "--allow-changed-data" in result.err
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_changed_data_can_be_allowed_and_is_recorded(ddpmx: Run, workdir: Path) -> None:
    run = only_run(workdir / "runs")
    state = json.loads((run / "checkpoints/last/state.json").read_text())["train"]
    had = environment(run)["data"]
    row = next(event for event in RunFolder(run).events() if event["event"] == "epoch")
    (run / "metrics.jsonl").write_text(  # a loss lower than that of any other epoch
        (run / "metrics.jsonl").read_text().replace(f'"val_loss": {row["val_loss"]}', '"val_loss": 1e-06')
    )
    add_images(workdir / "set", 24, 56)
    result = ddpmx("run", "a.yaml", "--run", run, "-s", "train.epochs=2", "--allow-changed-data")
    assert result.code == 0, result.err
    assert "the search for the best weights restarts at step 2" in " ".join(result.err.split())
    (before,) = environment(run)["data_before"]
    assert before == {**had, "until_step": state["step"]}
    assert environment(run)["data"]["train"] == 53
    last = epochs(run)[-1]
    assert (run / "checkpoints/best").readlink().name == str(last["step"])
    compared = json.loads(ddpmx("compare", run, "--json").out)
    (group,) = compared["groups"]
    assert group["measures"]["val_loss"]["value"] == last["val_loss"]
    assert any("the data changed after step 2" in line for line in compared["summary"])
    assert "the data changed after step 2" in (run / "report.html").read_text()
    # The change is not forgotten by a later, ordinary resume.
    assert ddpmx("run", "a.yaml", "--run", run, "-s", "train.epochs=3").code == 0
    assert environment(run)["data_before"] == [before]


def test_best_is_not_compared_with_a_loss_of_other_images(ddpmx: Run, workdir: Path) -> None:
    """The old loss is far lower, and a process killed after the change may have left it in the checkpoint."""
    from ddpmx.storage import manifest

    run = only_run(workdir / "runs")
    last = run / "checkpoints" / "last"
    content = manifest.read(last)
    content["train"]["best_loss"] = 1e-6
    content.pop("files")
    (last / manifest.STATE).unlink()
    manifest.write(last.resolve(), content)
    add_images(workdir / "set", 24, 56)
    assert ddpmx("run", "a.yaml", "--run", run, "-s", "train.epochs=2", "--allow-changed-data").code == 0
    assert manifest.read(last)["train"]["best_loss"] > 0.01
    assert (run / "checkpoints/best").readlink() == (run / "checkpoints/last").readlink()


def test_evaluate_needs_the_runs_data(ddpmx: Run, workdir: Path) -> None:
    run = only_run(workdir / "runs")
    add_images(workdir / "set", 24, 56)
    assert both_are_named(ddpmx("evaluate", run), run)
    add_images(workdir / "other", 100, 130)
    other = json.loads(ddpmx("evaluate", run, "-s", f"dataset.path={workdir}/other", "--json").out)
    assert (other["data"]["train"], other["data"]["validation"]) == (28, 2)
    allowed = json.loads(ddpmx("evaluate", run, "--allow-changed-data", "--json").out)
    assert allowed["data"]["train"] == 53
    fingerprints = {
        provenance.fingerprint_of(event, environment(run))
        for event in RunFolder(run).events()
        if "metrics" in event
    }
    assert fingerprints == {
        environment(run)["data"]["fingerprint"],
        other["data"]["fingerprint"],
        allowed["data"]["fingerprint"],
    }


def test_sampling_and_exporting_need_no_images(ddpmx: Run, workdir: Path, tmp_path: Path) -> None:
    run = only_run(workdir / "runs")
    assert ddpmx("sample", run, "-n", 4, "--out", tmp_path / "a.npz").code == 0
    shutil.rmtree(workdir / "set")
    assert ddpmx("sample", run, "-n", 4, "--out", tmp_path / "b.npz").code == 0
    np.testing.assert_array_equal(*(np.load(tmp_path / name)["images"] for name in ("a.npz", "b.npz")))
    assert ddpmx("export", run, tmp_path / "exported", "--to", "diffusers").code == 0
    assert ddpmx("evaluate", run).code == 2


def test_a_run_of_an_early_version_that_recorded_no_shape_samples_and_resumes(
    ddpmx: Run, workdir: Path, tmp_path: Path
) -> None:
    run = only_run(workdir / "runs")
    old = environment(run)
    for key in ("channels", "size"):
        del old["data"][key]
    (run / "environment.json").write_text(json.dumps(old))
    assert ddpmx("sample", run, "-n", 4, "--out", tmp_path / "a.npz").code == 0
    assert ddpmx("run", "a.yaml", "--run", run, "-s", "train.epochs=2").code == 0
    assert len(epochs(run)) == 2
    assert "data_before" not in environment(run)
    old["data"] = {"name": "image_folder"}  # without a fingerprint, nothing can be compared
    (run / "environment.json").write_text(json.dumps(old))
    add_images(workdir / "set", 24, 56)
    assert ddpmx("run", "a.yaml", "--run", run, "-s", "train.epochs=3").code == 0


def test_fingerprints_stay_the_same() -> None:
    """Runs of earlier versions recorded them."""
    assert Digits().load(Path()).fingerprint == "53f184dfc504a21e9018c68c72cafda5"


def test_a_sweep_checks_the_data_of_its_points(ddpmx: Run, workdir: Path) -> None:
    (workdir / "b.yaml").write_text("extends: a.yaml\nname: swept\nsweep: {seed: [0, 1]}\n")
    run = only_run(workdir / "runs")
    point = load(workdir / "a.yaml", ["seed=1", "name=swept-seed_1"])
    folder = RunFolder.create(workdir / "runs" / "swept", point)
    folder.write_json("environment.json", environment(run))
    folder.set_status("finished", seconds=1)
    finished = ddpmx("sweep", "b.yaml", "--jobs", 1)
    assert finished.code == 0
    assert finished.out.count("finished before") == 2
    add_images(workdir / "set", 24, 56)
    for command in (("sweep", "b.yaml", "--jobs", 1), ("run", "b.yaml", "--point", "swept-seed_1")):
        result = ddpmx(*command)
        assert both_are_named(result, run), result.err
        assert "finished before" not in result.out
    kept = ddpmx("sweep", "b.yaml", "--jobs", 1, "--allow-changed-data")
    assert kept.code == 0
    assert kept.out.count("finished before, with other data") == 2
    assert ddpmx("run", "b.yaml", "--point", "swept-seed_1", "--allow-changed-data").code == 0
    assert "--allow-changed-data" in ddpmx("sweep", "b.yaml", "--print", "--allow-changed-data").out


def test_an_unfinished_point_is_not_resumed_with_other_data(ddpmx: Run, workdir: Path) -> None:
    (workdir / "b.yaml").write_text("extends: a.yaml\nname: swept\nsweep: {seed: [7]}\n")
    had = environment(only_run(workdir / "runs"))
    folder = RunFolder.create(
        workdir / "runs" / "swept", load(workdir / "a.yaml", ["seed=7", "name=swept-seed_7"])
    )
    folder.write_json("environment.json", had)
    folder.set_status("interrupted")
    add_images(workdir / "set", 24, 56)
    for command in (("sweep", "b.yaml", "--jobs", 1), ("run", "b.yaml", "--point", "swept-seed_7")):
        result = ddpmx(*command)
        assert result.code == 2
        assert had["data"]["fingerprint"] in result.err
    assert json.loads((folder.path / "status.json").read_text())["status"] == "interrupted"


def test_each_data_set_is_loaded_once_and_none_to_find_runs(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    inner = ImageFolder.load

    def load_counted(self: ImageFolder, root: Path) -> Data:
        loaded.append(self.path)
        return inner(self, root)

    monkeypatch.setattr(ImageFolder, "load", load_counted)
    specs = [load(workdir / "a.yaml", [f"seed={seed}"]) for seed in range(5)]
    assert len(finished_runs(specs[:1], workdir / "runs")) == 1
    assert loaded == []
    present = provenance.PresentData()
    assert len({present.load(spec).fingerprint for spec in specs}) == 1
    assert len(loaded) == 1


@pytest.mark.parametrize("damage", [None, [], "text", {"fingerprint": 3}, {"fingerprint": "", "train": 4}])
def test_a_damaged_record_is_none(damage: Any) -> None:
    assert provenance.DataRecord.parse(damage) is None
    assert provenance.changed_at({"data_before": damage}) == -1
    assert provenance.data_changes({"data_before": [damage], "data": damage}) == []


def test_the_option_is_for_a_run_that_is_resumed(ddpmx: Run, workdir: Path) -> None:
    result = ddpmx("run", "a.yaml", "--allow-changed-data")
    assert (result.code, "--allow-changed-data: only applies when a run is resumed" in result.err) == (
        2,
        True,
    )
