"""A study that another machine began continues from what it published, without the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import study
import study_measurements
import study_plan
import study_publish
import study_restore
from study_measurements import measure_chosen, measure_full_chain
from study_plan import Study, has_weights
from study_publish import PAGES, publish
from study_restore import check_classifier, published_runs, restore
from test_study import files, made, runs_of, specs, template, tiny_study

from ddpmx.errors import RunError

__all__ = ["made", "specs", "template", "tiny_study"]  # fixtures


@pytest.fixture(scope="module")
def published(template: Study, specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first machine has published, of which `results` is a copy."""
    folder = tmp_path_factory.mktemp("published") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_plan, "FOLDER", specs)
        patch.setattr(study_publish, "PAGES", {"--csv": PAGES["--csv"]})
        publish(template, folder)
    return folder


@pytest.fixture
def results(published: Path, tmp_path: Path) -> Path:
    """What the first machine has published."""
    shutil.copytree(published, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def elsewhere(made: Study, tmp_path: Path) -> Study:
    """The study on a machine that has no runs yet."""
    return replace(made, out=tmp_path / "elsewhere")


def test_published_points_are_finished_there_and_published_again_as_they_were(
    made: Study, elsewhere: Study, results: Path, tmp_path: Path
) -> None:
    assert elsewhere.finished() == {}
    assert set(published_runs(elsewhere, results)) == set(made.finished())
    restore(elsewhere, results)
    assert set(elsewhere.finished()) == set(made.finished())
    assert not [path for path in elsewhere.finished().values() if has_weights(path)]
    assert published_runs(elsewhere, results) == {}
    again = tmp_path / "again"
    study_measurements.write_choices(elsewhere, {})
    publish(elsewhere, again)
    kept = {name: content for name, content in files(again).items() if name != "ema.json"}
    assert kept == files(results)


def test_a_run_of_another_spec_is_not_taken(elsewhere: Study, results: Path) -> None:
    (spec,) = results.glob("losses/losses-seed_0-l1/*/spec.yaml")
    spec.write_text(spec.read_text().replace("batch_size: 64", "batch_size: 32"))
    restore(elsewhere, results)
    assert "losses-seed_0-l1" not in elsewhere.finished()
    assert "losses-seed_1-l1" in elsewhere.finished()
    assert not (elsewhere.out / "losses" / "losses-seed_0-l1").exists()


def test_own_runs_stay_and_only_what_is_missing_is_taken(made: Study, results: Path) -> None:
    shutil.rmtree(made.out / "losses" / "losses-seed_1-l1")
    before = files(made.out)
    restore(made, results)
    assert {name for name in files(made.out) if name not in before} == {
        name for name in files(results) if name.startswith("losses/losses-seed_1-l1")
    }
    assert all(files(made.out)[name] == content for name, content in before.items())


def test_a_killed_copy_is_made_again(
    elsewhere: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(file: Path, target: Path) -> None:
        if file.name == "spec.yaml":
            raise KeyboardInterrupt
        target.write_bytes(b"")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", copy)
        with pytest.raises(KeyboardInterrupt):
            restore(elsewhere, results)
    assert elsewhere.finished() == {}
    restore(elsewhere, results)
    assert len(elsewhere.finished()) == 8
    (log,) = results.glob("losses/losses-seed_0-l1/*/metrics.jsonl")
    assert (elsewhere.out / log.relative_to(results)).read_bytes() == log.read_bytes()


def test_nothing_is_measured_without_weights_and_a_note_says_so(
    elsewhere: Study, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    restore(elsewhere, results)
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(study_measurements, "ddpmx_each", lambda given, jobs: commands.extend(given) or [])
    runs = runs_of(elsewhere)
    choices = study_measurements.choose_all(elsewhere, runs)
    assert len(choices) == 4  # from the published measurements
    measure_chosen(elsewhere, runs, choices, 1)
    measure_full_chain(elsewhere, runs, 1)
    assert commands == []
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: not measured")]
    assert ["chosen average" in note for note in notes] == [True, False]
    assert all("weights are on the machine that trained them: " in note for note in notes)
    assert "losses-seed_0-l1" in notes[0]


def test_sweeps_find_published_points_finished(
    elsewhere: Study, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the losses of seed 1, only these are left to run, in the order of the questions."""
    shutil.rmtree(results / "losses" / "losses-seed_1-l1")
    restore(elsewhere, results)
    calls: list[tuple[str, str]] = []

    def run(arguments: Sequence[str], accepted: Sequence[int]) -> None:
        (seeds,) = (text for text in arguments if text.startswith("sweep.seed="))
        calls.append((Path(arguments[1]).stem, seeds))

    monkeypatch.setattr(study, "ddpmx", run)
    monkeypatch.setattr(study, "_measure", lambda made, jobs: ["a problem"])
    by_question = replace(elsewhere, groups=(("losses",), ("timesteps",)))
    options = study.Options("tiny", elsewhere.out, results, 1, None, False, False)
    assert study._train(by_question, options) == ["a problem"]
    assert calls == [("losses", "sweep.seed=[0, 1]"), ("timesteps", "sweep.seed=[0, 1]")]
    assert list(by_question.rounds()) == [
        (("losses",), (0,)),
        (("losses",), (0, 1)),
        (("timesteps",), (0,)),
        (("timesteps",), (0, 1)),
    ]


def test_another_classifier_is_refused(
    made: Study, elsewhere: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Any = SimpleNamespace(hash="c0ffee")
    monkeypatch.setattr(study_restore, "Cnn", lambda data: known)
    left = results / "losses" / "losses-seed_1-l1"
    shutil.move(left, results.parent)
    restore(elsewhere, results)
    check_classifier(elsewhere)
    known.hash = "decaf"
    check_classifier(made)  # has its own weights
    with pytest.raises(RunError, match=r"classifier \(c0ffee\) than this machine trains \(decaf\)"):
        check_classifier(elsewhere)
    shutil.move(results.parent / left.name, left)
    restore(elsewhere, results)
    check_classifier(elsewhere)  # nothing is left to train
