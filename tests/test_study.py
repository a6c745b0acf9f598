"""The study's driver: what it runs, chooses, measures and publishes, on made-up runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study
import study_measurements
import study_plan
import study_publish
import study_tables
from made_runs import ENVIRONMENT, add_grids, epoch, score
from study_measurements import Choice, choose_all, full_chain, is_measured, with_average, write_choices
from study_plan import Study, load_study
from study_publish import MOST_DRAWS, MOST_STEPS, PAGES, check, publish, thinned

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.words import published
from ddpmx.comparison.comparison import compare
from ddpmx.comparison.output import to_csv, to_data
from ddpmx.comparison.results import Run, read_run
from ddpmx.errors import RunError
from ddpmx.spec.schema import Spec
from ddpmx.storage.draws import Draws, Stored, write
from ddpmx.storage.folder import RunFolder

FOLDER = study_plan.FOLDER
TRAIN, VALIDATION = ({"name": "fd_cnn", "reference": split} for split in ("train", "validation"))
SCALE = f"""
dataset: digits
model: {{name: convnext_unet, dim: 8, dim_mults: [1, 2]}}
schedule: cosine
train: {{steps: 12, batch_size: 64, lr: 1e-3, ema: {{name: power, snapshots: 4}}}}
weights: {{checkpoint: last, ema_std: 0}}
evaluate:
  every_epochs: 1000
  samples: 200
  sampler: {{name: ddim, steps: 3}}
  grid: 4
  metrics: [{json.dumps(TRAIN)}]
  over: {{weights.ema_std: [0, 0.05, 0.1], evaluate.metrics: [[{json.dumps(VALIDATION)}]]}}
sweep: {{seed: [0, 1]}}
"""
SWEEPS = {
    "timesteps": """
extends: scales/tiny.yaml
name: timesteps
sweep: {schedule.timesteps: [10, 30]}
claims:
  - says: a longer | chain is better
    source: a book
    published: [1, 2]
    measure: fd_cnn
    test: better
    point: timesteps_30
    than: timesteps_10
""",
    "losses": """
extends: scales/tiny.yaml
name: losses
schedule: {timesteps: 30}
sweep: {points: [{name: l1, loss.norm: l1}, {name: l2}]}
""",
}
"""Two sweeps, of which l2 and timesteps_30 are the same."""
L2 = {0: "losses-seed_0-l2", 1: "losses-seed_1-l2"}
AVERAGES = ((3.0, 2.0), (3.0, 3.5))
"""The values of each seed with averages of 0.05 and 0.1: the second width has the lower mean."""


def add(run: Path, wanted: Spec, value: float) -> None:
    """Add the measurement that a spec asks for: value ± 0.1, with the values behind the interval."""
    evaluate = wanted.evaluate
    (metric,) = evaluate.metrics
    count = len(list(RunFolder(run).events("evaluate")))
    halves = np.random.default_rng(count).normal(value, 0.05, 50)
    name = f"evaluate-{count}.safetensors"
    details = score(value, n=evaluate.samples, seed=evaluate.seed, metric=metric.spec())
    RunFolder(run).add_event(
        {
            "event": "evaluate",
            "epoch": 2,
            "step": 20,
            "metrics": {"fd_cnn": value},
            "scores": {"fd_cnn": details},
            "samples": evaluate.samples,
            "seed": evaluate.seed,
            "sampler": evaluate.sampler.spec(),
            "weights": wanted.weights.model_dump(mode="json"),
            "values": write(run, name, Stored(20, {"fd_cnn": Draws("halves", halves, 1000)})),
            "pictures": {},
        }
    )


def add_own(run: Path, spec: Spec, value: float, averages: Sequence[float]) -> None:
    """Add the spec's own measurement, and those on validation images with the averages of 0.05 and 0.1."""
    add(run, spec, value)
    on_validation = type(spec.evaluate.metrics[0]).model_validate({"reference": "validation"})
    evaluate = spec.evaluate.model_copy(update={"metrics": (on_validation,)})
    for std, mean in zip((0, 0.05, 0.1), (4.0, *averages), strict=True):
        add(run, with_average(spec.model_copy(update={"evaluate": evaluate}), std), mean)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sweeps and their scale."""
    folder = tmp_path_factory.mktemp("specs")
    (folder / "scales").mkdir()
    (folder / "scales" / "tiny.yaml").write_text(SCALE)
    for name, text in SWEEPS.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def tiny_study(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study has these sweeps, and publishing leaves out the page, which takes seconds."""
    monkeypatch.setattr(study_plan, "FOLDER", specs)
    monkeypatch.setattr(study_plan, "SWEEPS", tuple(SWEEPS))
    monkeypatch.setattr(study_plan, "QUESTIONS", (("losses",), ("timesteps",)))
    monkeypatch.setattr(study_publish, "PAGES", {"--csv": PAGES["--csv"]})


@pytest.fixture
def made(template: Study, tmp_path: Path) -> Study:
    """The study, with finished runs of all points."""
    shutil.copytree(template.out, tmp_path / "runs", symlinks=True)
    return replace(template, out=tmp_path / "runs")


@pytest.fixture(scope="module")
def template(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """What `made` is a copy of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_plan, "FOLDER", specs)
        patch.setattr(study_plan, "SWEEPS", tuple(SWEEPS))
        patch.setattr(study_plan, "ALL_AT_ONCE", ("tiny",))
        made = load_study("tiny", tmp_path_factory.mktemp("study"), None)
    for sweep in made.sweeps:
        for spec in made.specs(sweep):
            if spec.name not in L2.values():  # it is the run of the other sweep
                make_finished(made.out / sweep, spec)
    return made


def make_finished(out: Path, spec: Spec) -> None:
    folder = RunFolder.create(out, spec)
    for number in (1, 2):
        folder.add_event(epoch(number, 0.5 / number, {}))
    for step in range(1, 101):
        folder.add_event({"event": "step", "step": step, "loss": 1 / step})
    add_own(folder.path, spec, 5.0 + spec.schedule.timesteps + 0.1 * spec.seed, AVERAGES[spec.seed])
    add_grids(folder.path, 1, seed=spec.seed)
    folder.add_event({"event": "end", "status": "finished", "step": 20, "seconds": 150.0})
    (folder.path / "checkpoints" / "20").mkdir()
    (folder.path / "checkpoints" / "20" / "model.safetensors").write_bytes(b"weights")
    (folder.path / "checkpoints" / "last").symlink_to("20")
    folder.write_json("environment.json", ENVIRONMENT)
    folder.set_status("finished")


def runs_of(made: Study) -> dict[str, Run]:
    return {name: read_run(path) for name, path in made.finished().items()}


def tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """All that `compare` says about a folder, apart from absolute paths."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        comparison = compare([Path()])
        data: Any = to_data(comparison, comparison.groups)
        for group in data["groups"]:
            for run in group["runs"]:
                del run["training"]
        return to_csv(comparison, comparison.groups), data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_published_compares_as_the_runs_do(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results" / "digits"
    publish(made, results)
    assert tables(results, monkeypatch) == tables(made.out, monkeypatch)
    found = files(results)
    assert sum(name.endswith("spec.yaml") for name in found) == 6
    assert not [name for name in found if "checkpoints" in name or "plots" in name]
    (run,) = results.glob("losses/losses-seed_0-l1/*")
    events = list(RunFolder(run).events())
    assert sum(event["event"] == "step" for event in events) == MOST_STEPS
    assert all("pictures" not in event for event in events)
    assert all((run / event["values"]).exists() for event in events if "values" in event)
    assert json.loads(found["cost.json"]) == {
        "runs": 6,
        "core_hours": pytest.approx(6 * 150 / 3600, abs=1e-3),
        "training_core_hours": pytest.approx(6 * 2 * 61 / 3600, abs=1e-3),
        "evaluation_core_hours": pytest.approx(6 * 28 / 3600, abs=1e-3),
        "devices": {"cpu: a processor": 6},
    }


def test_publishing_again_changes_nothing_and_removes_what_is_gone(made: Study, tmp_path: Path) -> None:
    results = tmp_path / "results" / "digits"
    publish(made, results)
    before = files(results)
    publish(made, results)
    assert files(results) == before
    shutil.rmtree(made.out / "losses" / "losses-seed_1-l1")
    publish(made, results)
    assert not (results / "losses" / "losses-seed_1-l1").exists()
    assert (results / "losses" / "losses-seed_0-l1").exists()
    assert [path.name for path in results.parent.iterdir()] == ["digits"]


def test_nothing_is_published_without_a_finished_run(made: Study, tmp_path: Path) -> None:
    shutil.rmtree(made.out)
    with pytest.raises(RunError, match="nothing to publish"):
        publish(made, tmp_path / "results")


def test_weights_and_large_files_are_refused_and_what_was_there_stays(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    publish(made, results)
    before = files(results)
    monkeypatch.setattr(study_publish, "MOST_BYTES", 1000)
    with pytest.raises(RunError, match=r"more than the 1,000 to be published: the largest file of \d+ is"):
        publish(made, results)
    assert files(results) == before
    (results / "values.safetensors").write_bytes(bytes(200_001))
    with pytest.raises(RunError, match=r"values\.safetensors has weights"):
        check(results)
    (results / "draws").mkdir()
    (results / "values.safetensors").rename(results / "draws" / "values.safetensors")
    with pytest.raises(RunError, match="has 200,001 bytes, more than 200,000"):
        check(results)


def test_files_of_values_are_those_of_the_specs_own_measurements_first(made: Study) -> None:
    run = next(iter(runs_of(made).values()))
    events = list(run.folder.events())
    own = next(event["values"] for event in events if event["event"] == "evaluate")
    chosen = study_publish.published_draws(run, events)
    assert chosen[0] == own
    newest = events[-2]["values"]  # the last one is `end`
    assert chosen[1] == newest
    (run.path / newest).write_bytes(bytes(MOST_DRAWS))
    assert newest not in study_publish.published_draws(run, events)
    assert own in study_publish.published_draws(run, events)


@pytest.mark.parametrize("count", [0, 1, 2, 40, 41, 1000])
def test_a_log_keeps_an_even_part_of_its_steps_and_the_last_curves(count: int) -> None:
    events: list[dict[str, Any]] = [{"event": "step", "step": step} for step in range(count)]
    events += [{"event": "per_t", "step": 1}, {"event": "epoch", "step": 1}, {"event": "per_t", "step": 2}]
    events += [
        {"event": "samples", "path": "samples/epoch-0001.png"},
        {"event": "samples", "path": "samples/final.png"},
    ]
    kept = list(thinned(events))
    steps = [event["step"] for event in kept if event["event"] == "step"]
    assert len(steps) == min(count, MOST_STEPS)
    if count > 1:
        gaps = np.diff(steps)
        assert (steps[0], steps[-1]) == (0, count - 1)
        assert gaps.max() - gaps.min() <= 1
    assert [event for event in kept if event["event"] != "step"] == [
        events[count + 1],
        events[count + 2],
        events[-1],
    ]


def test_the_length_is_chosen_from_the_mean_over_seeds_on_validation_images(made: Study) -> None:
    choices = choose_all(made, runs_of(made))
    points = [(sweep, label) for sweep, labels in made.sweeps.items() for label in labels]
    assert choices == {point: Choice(0.1, {"0.05": 3.0, "0.1": 2.75}, (0, 1)) for point in points}
    write_choices(made, choices)
    written = json.loads((made.out / "ema.json").read_text())
    means = {"0.05": 3.0, "0.1": 2.75}
    assert written["losses"]["l1"] == {"ema_std": 0.1, "means": means, "seeds": [0, 1]}
    assert list(written["timesteps"]) == ["timesteps_10", "timesteps_30"]


def test_no_length_is_chosen_before_all_seeds_are_there(made: Study) -> None:
    shutil.rmtree(made.out / "losses" / "losses-seed_1-l1")
    assert set(choose_all(made, runs_of(made))) == {
        ("losses", "l2"),
        ("timesteps", "timesteps_10"),
        ("timesteps", "timesteps_30"),
    }


def test_only_what_is_missing_is_measured(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(study_measurements, "ddpmx_each", lambda given, jobs: commands.extend(given) or [])
    runs, spec = runs_of(made), made.sweeps["losses"]["l1"][0]
    choices = choose_all(made, runs)
    add(runs[spec.name].path, with_average(spec, 0.1), 2.5)
    runs = runs_of(made)
    assert is_measured(runs[spec.name], with_average(spec, 0.1))
    study_measurements.measure_chosen(made, runs, choices, 2)
    others = {str(run.path) for name, run in runs.items() if name != spec.name}
    assert sorted(command[1] for command in commands) == sorted(others)
    wanted = ["--over", "weights.ema_std=0.1"]
    assert all(command[0] == "evaluate" and command[2:] == wanted for command in commands)
    commands.clear()
    add(runs[spec.name].path, full_chain(spec), 2.5)
    study_measurements.measure_full_chain(made, runs_of(made), 2)
    names = [f"timesteps-seed_0-timesteps_{count}" for count in (10, 30)]  # the latter is that of l2, too
    assert [command[1] for command in commands] == [str(runs[name].path) for name in names]


def test_the_whole_chain_has_every_timestep(made: Study) -> None:
    for label, timesteps in (("timesteps_10", 10), ("timesteps_30", 30)):
        spec = full_chain(made.sweeps["timesteps"][label][0])
        plan = spec.evaluate.sampler.plan(spec.schedule.table(), spec.prediction)
        assert plan.evaluations == timesteps
        assert spec.weights.ema_std == 0


def test_the_sweeps_get_seed_after_seed_and_a_killed_study_resumes(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def run(arguments: Sequence[str], accepted: Sequence[int]) -> None:
        assert arguments[0] == "sweep"
        assert f'extends="{made.scale}"' in arguments
        (seeds,) = (text for text in arguments if text.startswith("sweep.seed="))
        calls.append((Path(arguments[1]).stem, seeds))

    monkeypatch.setattr(study, "ddpmx", run)
    monkeypatch.setattr(study, "_measure", lambda study, jobs: [])
    options = study.Options("tiny", made.out, tmp_path / "results", 1, None, False, False)
    study._train(made, options)
    assert calls == [("timesteps", "sweep.seed=[0, 1]"), ("losses", "sweep.seed=[0, 1]")]  # for their pages
    calls.clear()
    shutil.rmtree(made.out / "losses")
    study._train(made, options)
    assert calls == [
        ("losses", "sweep.seed=[0]"),
        ("timesteps", "sweep.seed=[0, 1]"),
        ("losses", "sweep.seed=[0, 1]"),
    ]


def test_a_scale_is_one_of_the_files_and_has_so_many_seeds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_plan, "FOLDER", FOLDER)
    assert study.main(["huge", "--dry-run"]) == 2
    assert "SCALE: there is no scale 'huge', only digits" in capsys.readouterr().err
    assert study.main(["settings", "--dry-run"]) == 2
    for count in (0, 99):
        assert study.main(["digits", "--dry-run", "--seeds", str(count)]) == 2
        assert "--seeds: should be 1 to 8" in capsys.readouterr().err


def test_the_published_claims_are_judged_by_the_published_runs(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_publish, "PAGES", PAGES)
    results = tmp_path / "results"
    publish(made, results)
    judged = study_tables.to_data(judge_files(files_of_claims([results])))
    assert json.loads((results / "claims.json").read_text()) == judged
    assert judged[0]["verdict"] == "fails"  # at 10 it is 15 and 15.1, at 30 35 and 35.1
    heading, line, row = (results / "claims.md").read_text().splitlines()
    assert heading.count("|") == line.count("|") == 8
    assert row.startswith("| timesteps | fails | a longer \\| chain is better (a book) | ")
    assert row.endswith(f"| {published([1, 2])} | 2 |  |")
    assert "a longer | chain" in (results / "compare.html").read_text()


def test_claims_are_judged_by_the_seeds_that_all_points_have(made: Study, tmp_path: Path) -> None:
    assert made.complete("losses", made.finished()) == (0, 1)
    shutil.rmtree(made.out / "losses" / "losses-seed_0-l1")
    assert made.complete("losses", made.finished()) == (0,)
    shutil.rmtree(made.out / "timesteps" / "timesteps-seed_1-timesteps_10")
    assert made.complete("timesteps", made.finished()) == (0,)
    publish(made, tmp_path / "results")
    (verdict,) = json.loads((tmp_path / "results" / "claims.json").read_text())
    assert (verdict["seeds"], verdict["verdict"]) == (1, "undecided")
    assert "not finished" not in verdict["needs"]


@pytest.mark.slow
def test_a_tiny_study_from_its_first_seed_to_the_published_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "runs", tmp_path / "results"
    arguments = ["tiny", "--out", str(out), "--results", str(results), "--jobs", "2"]
    monkeypatch.setattr(study_plan, "ALL_AT_ONCE", ("tiny",))
    assert study.main([*arguments, "--seeds", "1"]) == 0, capfd.readouterr()
    runs = set(out.glob("*/*/*/spec.yaml"))
    assert len(runs) == 3
    assert study.main(arguments) == 0, capfd.readouterr()
    assert runs < set(out.glob("*/*/*/spec.yaml"))
    assert len(set(out.glob("*/*/*/spec.yaml"))) == 6
    assert tables(results, monkeypatch) == tables(out, monkeypatch)
    made = load_study("tiny", out, None)
    choices = json.loads((results / "ema.json").read_text())
    for sweep, points in made.sweeps.items():
        for label, specs in points.items():
            means, width = choices[sweep][label]["means"], choices[sweep][label]["ema_std"]
            assert means[f"{width:g}"] == min(means.values())
            for spec in specs:
                run = read_run(made.finished()[spec.name])
                assert is_measured(run, with_average(spec, width))
                assert is_measured(run, full_chain(spec)) == (spec.seed == 0)
    before = files(out)
    capfd.readouterr()
    assert study.main(arguments) == 0
    logs = {name: content for name, content in files(out).items() if name.endswith("metrics.jsonl")}
    assert logs == {name: before[name] for name in logs}  # nothing is measured again
    assert "a longer | chain is better" in capfd.readouterr().out
    shutil.rmtree(results / "losses" / "losses-seed_1-l1")
    elsewhere = tmp_path / "elsewhere"
    assert study.main(["tiny", "--out", str(elsewhere), "--results", str(results), "--jobs", "2"]) == 0
    trained = {path.parents[1].name for path in elsewhere.glob("*/*/*/checkpoints")}
    assert trained == {"losses-seed_1-l1"}  # all others are taken from what is published
    assert (results / "losses" / "losses-seed_1-l1").exists()


PUBLISHED = Path(__file__).parents[1] / "results" / "study" / "digits"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the study is not published")
def test_the_published_study_is_small_without_weights_and_has_the_verdicts_of_its_runs() -> None:
    check(PUBLISHED)
    runs = [file.parent for file in PUBLISHED.glob("*/*/*/spec.yaml")]
    assert runs
    for run in runs:
        assert sum(path.stat().st_size for path in (run / "draws").glob("*")) <= MOST_DRAWS, run
        assert sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) <= 100_000, run
    judged = judge_files(files_of_claims([PUBLISHED]))
    assert json.loads((PUBLISHED / "claims.json").read_text()) == study_tables.to_data(judged)
