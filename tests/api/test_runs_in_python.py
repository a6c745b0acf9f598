"""Runs, trainings, measurements and comparisons in Python are those of the commands."""

from __future__ import annotations

import itertools
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINIER
from made_runs import add_measurement, make_run, run_of, score
from safetensors.torch import load_file

import ddpmx
from ddpmx.api.frames import Events
from ddpmx.comparison.comparison import compare
from ddpmx.comparison.latex import to_latex
from ddpmx.comparison.markdown import to_markdown
from ddpmx.comparison.output import to_csv
from ddpmx.errors import RunError, SpecError
from ddpmx.images import to_pixels
from ddpmx.runs.sample import SampleRequest, sample
from ddpmx.spec.loading import override
from ddpmx.spec.values import changes, texts
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.points import load_sweep
from ddpmx.terminal.console import say, shown
from ddpmx.training.loop import EpochDone, StepDone

CPU = torch.device("cpu")


def spec_of(run: Path) -> Path:
    """The file that the fixture's run was made from."""
    return run.parents[1] / "tiny.yaml"


def test_a_training_leaves_the_weights_of_a_run(trained: Path) -> None:
    training = ddpmx.train(spec_of(trained), device="cpu")
    events = list(training)
    steps = [event for event in events if isinstance(event, StepDone)]
    logged = next(event for event in RunFolder(trained).events("step") if event["step"] == 6)
    epochs = [1, 1, 1, 2, 2, 2]
    assert [(event.step, event.epoch) for event in steps] == [*enumerate(epochs, 1)]
    assert (steps[-1].loss, steps[-1].lr) == (logged["loss"], logged["lr"])
    ends = [event for event in events if isinstance(event, EpochDone)]
    rows = list(RunFolder(trained).events("epoch"))
    assert [(end.epoch, end.step, end.train_loss, end.val_loss) for end in ends] == [
        tuple(row[key] for key in ("epoch", "step", "train_loss", "val_loss")) for row in rows
    ]
    last = trained / "checkpoints" / "last"
    for network, file in ((training.network, "model"), (training.averaged, "ema")):
        stored, state = load_file(last / f"{file}.safetensors"), network.state_dict()
        assert stored.keys() == state.keys()
        assert all(torch.equal(stored[name], state[name]) for name in stored)
    averaged = ddpmx.load(trained, device="cpu").network("last").state_dict()
    assert all(torch.equal(value, averaged[name]) for name, value in training.averaged.state_dict().items())


def test_a_training_can_be_stopped_and_does_not_keep_its_backend(trained: Path) -> None:
    training = ddpmx.train(spec_of(trained), {"backend": "reference"}, device="cpu")
    before = ddpmx.ops.active(CPU)
    next(training)
    assert ddpmx.ops.active(CPU) == before
    training.stop()
    assert list(training) == []


def test_a_training_without_a_folder_cannot_roll_back(trained: Path) -> None:
    with pytest.raises(SpecError, match=r"^train\.on_nan: rolling back needs the checkpoints"):
        ddpmx.train(spec_of(trained), {"train.on_nan": "rollback"})


def test_a_run_is_found_by_its_folder_and_its_name(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ddpmx.load(copied)
    assert (run.folder, run.name, run.status, run.spec.name) == (copied, "tiny", "finished", "tiny")
    monkeypatch.chdir(copied.parents[2])
    for name in ("tiny", "runs/tiny", Path("runs") / "tiny" / copied.name):
        assert ddpmx.load(name).folder.resolve() == copied
    with pytest.raises(SpecError, match="is not a run: it has no spec.yaml"):
        ddpmx.load(copied.parent / "other")
    with pytest.raises(SpecError, match=r"no run 'tine', .*did you mean 'tiny'"):
        ddpmx.load("tine")


def test_samples_are_those_of_the_command_before_they_become_bytes(trained: Path, tmp_path: Path) -> None:
    run = ddpmx.load(trained, device="cpu")
    images = run.sample(5, sampler={"name": "unipc", "steps": 2}, seed=3, progress=False)
    assert (images.shape, images.dtype) == ((5, 1, 8, 8), torch.float32)
    assert float(images.abs().max()) <= 1
    out = tmp_path / "a.npz"
    overrides = ["sampler=null", "sampler={name: unipc, steps: 2}"]
    sample(trained, SampleRequest(5, 3), device=CPU, overrides=overrides, out=out)
    expected = torch.from_numpy(np.load(out)["images"]).permute(0, 3, 1, 2)
    assert torch.equal(to_pixels(images), expected)
    assert not torch.equal(run.sample(5, sampler="ddim", seed=4, progress=False), images)


def test_samples_that_are_not_finite_are_an_error(copied: Path) -> None:
    from safetensors.torch import save_file

    file = copied / "broken.safetensors"
    weights = load_file(copied / "checkpoints" / "last" / "ema.safetensors")
    save_file({name: value * torch.nan for name, value in weights.items()}, file)
    with pytest.raises(RunError, match="^2 of 2 images are not finite"):
        ddpmx.load(copied).sample(2, sampler={"name": "ddim", "steps": 2}, weights=str(file), progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "dim"}, "sampler.name: unknown sampler 'dim'"),
        ({"sampler": {"name": "ddim", "steps": 21}}, "sampler.steps: "),
        ({"classes": [0]}, "^classes: the run's network is not class-conditional"),
        ({"overrides": {"sampler.step": 3}}, "sampler.step: unknown key"),
    ],
)
def test_a_wrong_argument_of_sample_is_named(trained: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ddpmx.load(trained).sample(2, **arguments)


@pytest.mark.slow
def test_evaluations_are_stored_and_not_repeated(copied: Path) -> None:
    run, over = ddpmx.load(copied, device="cpu"), {"evaluate.sampler.steps": [2, 3]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = ddpmx.evaluate(copied, metrics=["pixel_fd"], over=over, samples=4, progress=False)
        again = run.evaluate(metrics=["pixel_fd"], over=over, samples=4, progress=False)
    assert measured == again == run.events.of("evaluate")
    assert [event["sampler"]["steps"] for event in measured] == [2, 3]
    frame = measured.to_frame()
    assert list(frame["sampler.steps"]) == [2, 3]
    assert list(frame["pixel_fd"]) == [event["metrics"]["pixel_fd"] for event in measured]
    with pytest.raises(SpecError, match=r"evaluate\.metrics\.0\.name: unknown metric 'pixel_fid'"):
        run.evaluate(["pixel_fid"])
    with pytest.raises(SpecError, match="train.lr cannot vary in an evaluation"):
        run.evaluate(["pixel_fd"], over={"train.lr": [1, 2]})


def test_events_are_a_table(tmp_path: Path) -> None:
    path = make_run(tmp_path, scores={"fd_cnn": score(5.0)})
    add_measurement(path, 4.0, np.array([-0.1, 0.1]))
    run = ddpmx.Run(path)
    assert list(run.events) == list(RunFolder(path).events())
    frame = run.events.of("epoch", "evaluate").to_frame()
    assert list(frame["event"]) == ["epoch", "epoch", "evaluate"]
    assert list(frame["fd_cnn"]) == [15.0, 5.0, 4.0]
    assert list(frame["fd_cnn.high"])[:2] == pytest.approx([15.1, 5.1])
    assert frame["fd_cnn.high"].iloc[2] > 4
    assert frame["sampler.name"].iloc[2] == "ddim"
    assert frame["weights.checkpoint"].iloc[2] == "best"
    assert not {"scores", "metrics", "sampler"} & {*frame.columns}


def test_tables_say_how_to_install_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^to_frame needs pandas: pip install 'ddpmx\[pandas\]'"):
        Events([{"event": "step"}]).to_frame()


def test_a_comparison_has_the_tables_of_the_command(tmp_path: Path) -> None:
    paths = [
        make_run(tmp_path, f"train.lr={lr}", f"seed={seed}", scores={"fd_cnn": score(value + seed)})
        for (lr, value), seed in itertools.product(((1e-3, 5.0), (1e-4, 9.0)), (0, 1))
    ]
    compared = ddpmx.compare([paths[0], str(paths[1]), ddpmx.Run(paths[2]), paths[3]], sort="fd_cnn")
    expected = compare(paths)
    assert compared.markdown() == to_markdown(expected, expected.groups)
    assert compared.latex() == to_latex(expected, expected.groups)
    frame = compared.to_frame()
    assert frame.to_csv(index=False).split("\n")[0] == to_csv(expected, expected.groups).split("\n")[0]
    assert list(frame["train.lr"]) == ["0.001", "0.0001"]
    assert list(frame["fd_cnn"]) == [5.5, 9.5]
    assert list(frame["seeds"]) == [2, 2]
    assert str(compared).split()[:4] == ["run", "status", "seeds", "train.lr"]
    assert repr(compared) == "ComparedRuns(4 runs of 2 specs)"
    assert compared.data()["baseline"] == ddpmx.compare(tmp_path).data()["baseline"]
    with pytest.raises(SpecError, match="is not a run"):
        ddpmx.compare(tmp_path / "none")
    with pytest.raises(SpecError, match="^sort: the comparison has no 'fd_cn' to sort by .did you mean"):
        ddpmx.compare(tmp_path, sort="fd_cn")


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.lr": 1e-5, "train.ema": None},
        {"sampler": {"name": "ddim", "steps": 3}, "name": 'a "b": é'},
        {"sweep.seed": [0, 1], "train.compile": True},
        {"evaluate.metrics.0": "fd_cnn", "plugins": []},
    ],
)
def test_overrides_of_a_sweep_mean_the_same_as_text(overrides: dict[str, object]) -> None:
    read = [override(text).data for text in texts(overrides)]
    assert read == [change.data for change in changes(overrides)]


@pytest.mark.slow
def test_finished_points_of_a_sweep_are_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINIER + "sweep: {seed: [0, 1]}\n")
    overrides, out = {"train.lr": 0.5}, tmp_path / "runs"
    points = load_sweep(file, texts(overrides)).points
    made = [run_of(spec, out / "tiny", {"fd_cnn": score(5.0)}) for spec in points]
    for path in made:  # they name other images, with which a sweep refuses to mix
        (path / "environment.json").write_text("{}")
    runs = ddpmx.sweep(file, overrides, out=out, jobs=1, progress=False)
    assert [run.folder for run in runs] == made
    assert (out / "tiny" / "compare.html").is_file()
    assert [run.spec.train.lr for run in runs] == [0.5, 0.5]


def test_what_is_printed_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(None):  # stderr is no terminal here
        say("a line")
        with pytest.warns(UserWarning, match="^the disk is slow$"):
            say("warning: the disk is slow")
    assert capsys.readouterr() == ("", "")
    with shown(True):
        say("a line")
        say("warning: the disk is slow")
    say("another")
    assert capsys.readouterr().err == "a line\nwarning: the disk is slow\nanother\n"


@pytest.mark.slow
def test_a_run_is_made_and_resumed_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TINIER)
    run = ddpmx.run(tmp_path / "tiny.yaml", {"train.epochs": 1}, out=tmp_path / "runs", device="cpu")
    assert (run.status, run.folder.parent) == ("finished", tmp_path / "runs" / "tiny")
    assert [event["event"] for event in run.events][-1] == "end"
    resumed = ddpmx.run(tmp_path / "tiny.yaml", out=tmp_path / "runs", device="cpu", resume=True)
    assert resumed.folder == run.folder
    assert capsys.readouterr() == ("", "")
    runs = ddpmx.sweep(_sweep(tmp_path), {"train.epochs": 1}, out=tmp_path / "runs", jobs=1)
    assert [(each.status, each.spec.seed) for each in runs] == [("finished", 1), ("finished", 2)]
    assert capsys.readouterr() == ("", "")


def _sweep(folder: Path) -> Path:
    (folder / "sweep.yaml").write_text("extends: tiny.yaml\nname: many\nsweep: {seed: [1, 2]}\n")
    return folder / "sweep.yaml"
