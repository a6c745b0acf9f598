"""Which runs `sweep --until-settled` starts, with an engine that makes runs up: budget, stops, failures."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, Result
from made_runs import ENVIRONMENT, epoch, score

from ddpmx.data.digits import Digits
from ddpmx.spec.schema import Spec
from ddpmx.storage.folder import RunFolder
from ddpmx.storage.provenance import DataRecord
from ddpmx.sweeps import settle_runs
from ddpmx.sweeps.local import Job
from ddpmx.sweeps.points import load_sweep
from ddpmx.sweeps.trainings import trainings_of

Run = Callable[..., Result]
SPEC = TINY.replace("samples: 8", "samples: 8, metrics: [pixel_fd]")
MEANS = {1e-3: 10.0, 2e-3: 10.3, 3e-3: 20.0}
"""Scores of the specs by their learning rate."""


@dataclass
class FakeEngine:
    """Makes up the runs of jobs, whose points are those that the job's command names."""

    out: Path
    environment: dict[str, Any]
    started: list[str] = field(default_factory=list)
    """The points of the jobs, in order."""
    spread: float = 0.4
    seconds: float = 1.0
    """What each run says that it took."""
    fails: tuple[str, ...] = ()
    """The points whose jobs fail."""
    stop_at: int | None = None
    """The number of the job at which a stop is requested, after which the jobs are interrupted."""
    at_once: int = 2
    _ended: list[tuple[Job, int]] = field(default_factory=list)
    _interrupted: list[Job] = field(default_factory=list)

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *error: object) -> None:
        assert not self._ended

    def has_room(self) -> bool:
        return len(self._ended) + len(self._interrupted) < self.at_once

    def start(self, job: Job) -> None:
        job.log.write_text(f"$ {job.name}\nfailed: made to fail\n")
        self.started.append(job.name)
        if len(self.started) == self.stop_at:
            signal.raise_signal(signal.SIGINT)
            self._interrupted.append(job)
        elif job.name in self.fails:
            self._ended.append((job, 1))
        else:
            self._run(job)
            self._ended.append((job, 0))

    def ended(self) -> list[tuple[Job, int]]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        self._ended += [(job, 130) for job in self._interrupted]
        self._interrupted.clear()

    def _run(self, job: Job) -> None:
        file, command = job.command[job.command.index("run") + 1], job.command
        overrides = [command[index + 1] for index, part in enumerate(command) if part == "-s"]
        points = load_sweep(file, overrides).points
        (training,) = (one for one in trainings_of(points) if one.first.name == job.name)
        for point in training.points:
            self._finish(point)

    def _finish(self, point: Spec) -> None:
        mean = next(mean for lr, mean in MEANS.items() if lr == point.train.lr)
        noise = np.random.default_rng([point.seed, int(1e4 * point.train.lr)]).normal()
        folder = RunFolder.create(self.out / "tiny", point)
        folder.add_event(epoch(1, 0.25, {"pixel_fd": score(mean + self.spread * float(noise), half=None)}))
        folder.write_json("environment.json", self.environment)
        folder.set_status("finished", seconds=self.seconds)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    data = DataRecord.from_data(Digits().load(Path.cwd())).to_json()
    fake = FakeEngine(tmp_path / "runs", {**ENVIRONMENT, "data": data})
    monkeypatch.setattr(settle_runs, "engine_of", lambda *arguments: fake)
    return fake


@pytest.fixture
def settle(ddpmx: Run, tmp_path: Path) -> Run:
    """`sweep --until-settled` of a spec with three learning rates, or with another `sweep:` block."""

    def run(*arguments: str, sweep: str = "train.lr: [1e-3, 2e-3, 3e-3]") -> Result:
        (tmp_path / "tiny.yaml").write_text(f"{SPEC}sweep: {{{sweep}}}\n")
        return ddpmx(
            "sweep", tmp_path / "tiny.yaml", "--until-settled", "--out", tmp_path / "runs", *arguments
        )

    return run


def seeds_of(engine: FakeEngine, rate: str) -> list[str]:
    """The ends of the names of a spec's points, in order."""
    return [name.split(rate)[1] for name in engine.started if rate in name]


def answer(engine: FakeEngine) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((engine.out / "tiny" / "settled.json").read_text())
    return content["questions"][-1]


def test_open_pairs_get_seeds_and_others_none(settle: Run, engine: FakeEngine):
    result = settle("--max-seeds", "12")
    assert result.code == 0, result.err
    assert seeds_of(engine, "0.003") == ["", "-seed_1"]
    ends = seeds_of(engine, "0.001")
    assert ends == seeds_of(engine, "0.002") == ["", *(f"-seed_{seed}" for seed in range(1, len(ends)))]
    assert 2 < len(ends) < 12
    assert f"with {len(ends)} seeds, 3 of 3 pairs settled" in result.err
    assert "at most 36 runs more; how long they take is known once one has finished" in result.err
    assert "tiny: 6 runs with seeds 0 and 1, output in" in result.err
    assert "tiny: 2 runs with seed 2, about" in result.err
    again = settle("--max-seeds", "12")
    assert len(engine.started) == len(set(engine.started)) == 2 + 2 * len(ends)
    assert again.out.splitlines()[-6:] == result.out.splitlines()[-6:]


def test_a_budget_starts_nothing_more(settle: Run, engine: FakeEngine):
    result = settle("--budget", "0.000001s")
    assert result.code == 0, result.err
    assert engine.started == []
    assert "not continued: the budget is used up. The same command continues." in result.out
    assert "lr_0.001 and lr_0.002: two seeds of each are needed for a verdict" in result.out


def test_what_does_not_fit_into_the_budget_is_not_started(settle: Run, engine: FakeEngine):
    engine.seconds = 3600.0
    first = settle("--max-seeds", "2")
    assert first.code == 0, first.err
    before = list(engine.started)
    result = settle("--max-seeds", "12", "--budget", "30m")
    assert result.code == 0, result.err
    assert engine.started == before
    assert "2 more runs would take about 1 h 00 min; the budget has 30 min left" in result.out
    assert "a new question: max_seeds, seeds changed since the last one" in result.err
    assert "about 1 h 00 min each" in result.err
    assert "none is started after 30 min" in result.err


@pytest.mark.slow
def test_a_stop_keeps_what_was_found(settle: Run, engine: FakeEngine):
    engine.stop_at = 8
    stopped = settle("--max-seeds", "12")
    assert stopped.code == 130
    assert "stopped; 2 of 3 pairs are settled. The same command continues." in stopped.err
    assert [look["seeds"] for look in answer(engine)["looks"]] == [2]
    engine.stop_at = None
    done = settle("--max-seeds", "12")
    assert done.code == 0, done.err
    assert "with 2 seeds" not in done.err
    assert len(engine.started) - len(set(engine.started)) == 1  # the interrupted one


@pytest.mark.slow
def test_a_spec_whose_run_fails_is_reported_and_tried_again_by_the_next_command(
    settle: Run, engine: FakeEngine
):
    engine.fails = ("tiny-lr_0.002-seed_1",)
    result = settle("--max-seeds", "12")
    assert result.code == 1
    assert engine.started.count("tiny-lr_0.002-seed_1") == 1
    assert "lr_0.002 is not settled: tiny-lr_0.002-seed_1: failed: made to fail" in result.out
    assert "lr_0.001 is better than lr_0.003" in result.out
    assert (
        "runs of lr_0.002 failed, so that not all pairs can be settled; 1 of 3 pairs are settled"
        in result.err
    )
    engine.fails = ()
    again = settle("--max-seeds", "12")
    assert again.code == 0, again.err
    assert seeds_of(engine, "0.003") == ["", "-seed_1"]
    assert "with 2 seeds, 2 of 3 pairs settled" in again.err


def test_specs_that_share_a_training_are_run_together(settle: Run, engine: FakeEngine):
    engine.spread = 0.01
    result = settle(
        "--max-seeds", "8", sweep="train.lr: [1e-3, 3e-3], evaluate.sampler.steps: [2, 3], seed: [0, 1]"
    )
    assert result.code == 0, result.err
    assert len(engine.started) == 4  # two trainings for each of two seeds
    assert "4 specs, 6 pairs to settle by pixel_fd" in result.err
    assert "4 trainings for 8 points" in result.err
    assert "at most 16 runs more" in result.err
    assert result.out.count("finished") == 8
    assert result.out.count("are equivalent") == 2
