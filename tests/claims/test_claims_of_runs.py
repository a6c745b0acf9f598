"""Claims about points with run folders: what counts as a score, what is missing, and what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_runs import ENVIRONMENT, epoch, make_run, score

from ddpmx import DATASETS, SCHEDULES
from ddpmx.claims.judge import judge
from ddpmx.claims.points import Point
from ddpmx.comparison.comparison import compare
from ddpmx.comparison.results import read_run
from ddpmx.spec.claims import TESTS, Claim
from ddpmx.storage.folder import RunFolder
from ddpmx.theory.variance import prior_terms

SEEDS = (0, 1, 2)
SPREAD = (-0.3, 0.1, 0.2)


def claim(**keys: Any) -> Claim:
    block = {"says": "so it is", "source": "a page", "measure": "fd_cnn", **keys}
    return TESTS[block["test"]].model_validate(block)


def runs_of(out: Path, label: str, mean: float, *, seeds: Sequence[int] = SEEDS, **more: Any) -> list[Path]:
    """Runs of the tiny spec with the learning rate `label`."""
    shift = int(label[-1])
    return [
        make_run(
            out / label,
            f"train.lr={label}",
            f"seed={seed}",
            scores={"fd_cnn": score(mean + SPREAD[(seed + shift) % 3], **more)},
        )
        for seed in seeds
    ]


def point(label: str, runs: Sequence[Path], seeds: tuple[int, ...] = SEEDS) -> Point:
    read = tuple(read_run(path) for path in runs)
    return Point(label, {**read[0].spec} if read else {}, seeds, read)


BETTER = {"test": "better", "point": "1e-4", "than": "1e-5"}


def test_verdicts_are_those_of_compare(tmp_path):
    means = {"1e-4": 4.0, "1e-5": 8.0, "1e-6": 4.3}
    paths = {label: runs_of(tmp_path, label, mean) for label, mean in means.items()}
    points = [point(label, runs) for label, runs in paths.items()]
    pairs = [(a, b) for a in means for b in means if a != b]
    claims = [claim(test="better", point=a, than=b) for a, b in pairs]
    ranking = compare([path for runs in paths.values() for path in runs]).rankings["fd_cnn"]
    at = {group.runs[0].spec["train"]["lr"]: group for group in ranking.groups}
    verdicts = set[str]()
    for (a, b), found in zip(pairs, judge(claims, points), strict=True):
        difference = ranking.difference(at[float(b)], at[float(a)])
        wanted = ("holds" if difference.value > 0 else "fails") if difference.decides_specs else "undecided"
        assert found.verdict == wanted
        verdicts.add(found.verdict)
    assert verdicts == {"holds", "fails", "undecided"}


def test_missing_and_other_seeds_are_named(tmp_path):
    good, few = runs_of(tmp_path, "1e-4", 4.0), runs_of(tmp_path, "1e-5", 8.0)
    RunFolder(few[0]).set_status("running")
    (found,) = judge([claim(**BETTER)], [point("1e-4", good, (*SEEDS, 3)), point("1e-5", few)])
    assert (found.seeds, found.needs.split("; ")[:2]) == (
        2,
        ["1 of 4 seeds of 1e-4 is not finished", "1 of 3 seeds of 1e-5 is not finished"],
    )
    (none,) = judge([claim(**BETTER)], [point("1e-4", good), point("1e-5", [])])
    assert (none.verdict, none.value, none.seeds) == ("undecided", None, 0)
    assert none.needs == "3 of 3 seeds of 1e-5 are not finished"


def test_seeds_that_are_not_the_sweeps_do_not_count(tmp_path):
    points = [point(label, runs_of(tmp_path, label, 4.0), (0, 1)) for label in ("1e-4", "1e-5")]
    (found,) = judge([claim(**BETTER)], points)
    assert found.seeds == 2


def test_a_score_that_was_taken_in_another_way_does_not_compare(tmp_path):
    points = [
        point(label, runs_of(tmp_path, label, 4.0, n=n))
        for label, n in (("1e-4", 1000), ("1e-5", 500), ("1e-6", 1000))
    ]
    (found,) = judge([claim(**BETTER)], points)
    assert found.verdict == "undecided"
    assert found.needs == "3 of 3 seeds of 1e-5 measured fd_cnn in another way (n 500, not 1,000)"
    (none,) = judge([claim(**{**BETTER, "measure": "kid"})], points)
    assert none.needs == "3 of 3 seeds each of 1e-4 and 1e-5 have no kid"


@pytest.mark.parametrize(
    ("field", "condition", "note"),
    [("evaluate.samples", "n", "n is 1,000 and 500"), ("dataset.limit", "data", "their data differ")],
)
def test_scores_compare_if_it_is_the_sweep_that_varies_how_they_are_taken(tmp_path, field, condition, note):
    def made(label: str, mean: float, value: int, more: Sequence[str] = ()) -> Point:
        runs = []
        for seed in SEEDS:
            n, fingerprint = (value, "abc") if condition == "n" else (1000, f"limited to {value}")
            scores = {"fd_cnn": score(mean + SPREAD[(seed + value // 500) % 3], n=n)}
            run = make_run(tmp_path / label, f"{field}={value}", f"seed={seed}", *more, scores=scores)
            data = {**ENVIRONMENT["data"], "fingerprint": fingerprint}
            RunFolder(run).write_json("environment.json", {**ENVIRONMENT, "data": data})
            runs.append(run)
        return point(label, runs)

    points = [made("few", 8.0, 500), made("many", 4.0, 1000)]
    better = claim(test="better", point="many", than="few")
    trend = claim(test="trend", field=field, direction="falls")
    found, falls = judge([better, trend], points)
    assert (found.verdict, found.seeds) == ("holds", 3)
    assert found.note == f"the scores differ in what the sweep varies: {note}"
    assert (falls.verdict, falls.note) == ("holds", "")
    # smaller images are other data for another reason than the limit
    others = [points[0], made("small", 4.0, 1000, ["dataset.size=4"] if condition == "data" else [])]
    (other,) = judge([claim(test="better", point="small", than="few")], others)
    assert other.verdict == ("holds" if condition == "n" else "undecided")


def test_unstable_is_the_trainers_verdict_in_every_seed(tmp_path):
    runs = runs_of(tmp_path, "1e-4", 4.0)
    unstable = claim(test="unstable", point="1e-4", measure=None)

    def verdict(seeds: tuple[int, ...] = SEEDS) -> tuple[str, float | None, str]:
        (found,) = judge([unstable], [point("1e-4", runs, seeds)])
        return found.verdict, found.value, found.needs

    assert verdict() == ("fails", 0.0, "")
    RunFolder(runs[0]).add_event({**epoch(3, 9.0, {}), "verdict": "the loss diverged"})
    assert verdict() == ("undecided", pytest.approx(1 / 3), "")
    RunFolder(runs[1]).add_event({**epoch(3, 9.0, {}), "verdict": "the loss diverged"})
    RunFolder(runs[2]).set_status("failed", "the disk is full")
    assert verdict() == ("undecided", 1.0, "finished runs of 1e-4 with seed 2 are needed")
    RunFolder(runs[2]).add_event({"event": "diverged", "action": "stop", "epoch": 1, "step": 3})
    assert verdict() == ("holds", 1.0, "")
    assert verdict((*SEEDS, 7, 8))[2] == "finished runs of 1e-4 with seeds 7 and 8 are needed"


def equals(measure: str, value: float, within: float, spec: dict[str, object]) -> tuple[str, Any]:
    wanted = claim(test="equals", point="a", measure=measure, value=value, within=within)
    (found,) = judge([wanted], [Point("a", spec, SEEDS, ())])
    assert (found.value, found.value) == (found.low, found.high)
    return found.verdict, found.value if found.verdict != "undecided" else found.needs


def test_computed_quantities_need_no_run():
    spec: dict[str, object] = {
        "schedule": {"name": "linear", "timesteps": 100, "beta_start": 1e-4, "beta_end": 0.02},
        "dataset": {"name": "digits"},
    }
    table = SCHEDULES.build("linear", timesteps=100, beta_start=1e-4, beta_end=0.02).table()
    signal = float(table.alpha_bar[-1]) ** 0.5
    verdict, value = equals("terminal_signal", signal, 0, spec)
    assert (verdict, value) == ("holds", pytest.approx(signal, rel=1e-12))
    assert equals("terminal_signal", 0.5, 0.05, spec)[0] == "fails"
    images = DATASETS.build("digits").load(Path.cwd()).train.pixels
    bits = float(prior_terms(images.double() / 127.5 - 1, table).mean())
    assert equals("prior_bits", bits, 1e-9, spec) == ("holds", pytest.approx(bits, rel=1e-9))


def test_what_cannot_be_computed_here_is_undecided():
    verdict, needs = equals("terminal_signal", 0, 0, {"schedule": {"name": "from_a_plugin", "timesteps": 10}})
    assert verdict == "undecided"
    assert "unknown schedule 'from_a_plugin'" in needs
