"""`compare` says how specs differ and which is better, unless noise or a different measurement forbids it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from made_runs import make_run, score

from ddpmx.comparison.comparison import Comparison, compare
from ddpmx.comparison.fields import differing, labels, texts
from ddpmx.comparison.output import print_table
from ddpmx.comparison.sorting import sort
from ddpmx.comparison.words import amount, summary
from ddpmx.errors import SpecError
from ddpmx.storage.folder import RunFolder
from ddpmx.terminal.console import to_json
from ddpmx.theory.estimate import Estimate, mean_over_seeds


def of(tmp_path: Path, **values: tuple[float, float | None]) -> Comparison:
    """A comparison with one run per spec: name=(fd_cnn, half the width of its interval)."""
    runs = [
        make_run(tmp_path, f"name={name}", f"train.lr={1e-4 * (i + 1)}", scores={"fd_cnn": score(*value)})
        for i, (name, value) in enumerate(values.items())
    ]
    return compare(runs)


def ranks(comparison: Comparison, measure: str = "fd_cnn") -> dict[str, int | None]:
    return {group.label: group.standings[measure].rank for group in comparison.groups}


def test_seeds_of_one_spec_are_one_group(tmp_path: Path):
    values = [4.0, 4.5, 4.2]
    runs = [
        make_run(tmp_path, f"seed={seed}", f"name=s{seed}", scores={"fd_cnn": score(value)})
        for seed, value in enumerate(values)
    ]
    runs.append(make_run(tmp_path, "loss.norm=l1", scores={"fd_cnn": score(9.0)}))
    comparison = compare(runs)
    first, second = comparison.groups
    assert [len(group.runs) for group in comparison.groups] == [3, 1]
    assert comparison.fields == ("loss.norm",)
    assert (first.label, second.label) == ("norm=l2", "tiny")
    wanted = mean_over_seeds([Estimate(value, (value - 0.1, value + 0.1)) for value in values])
    assert first.standings["fd_cnn"].estimate.value == pytest.approx(wanted.value)
    assert first.standings["fd_cnn"].estimate.interval == pytest.approx(wanted.interval)
    assert first.standings["fd_cnn"].seeds == 3


def test_the_seeds_of_a_sweep_point_have_the_points_name(tmp_path: Path):
    made = [
        make_run(tmp_path, f"name=s-{norm}-seed_{seed}", f"seed={seed}", f"loss.norm={norm}")
        for norm in ("l1", "l2")
        for seed in (0, 1)
    ]
    assert [group.label for group in compare(made).groups] == ["l1", "l2"]
    assert [group.label for group in compare(made[:2]).groups] == ["s-l1"]


def test_runs_of_one_seed_are_repeats_and_not_samples(tmp_path: Path):
    """Two equal runs must not look like a standard deviation of 0."""
    runs = [make_run(tmp_path, scores={"fd_cnn": score(4.0, 0.3)}) for _ in range(2)]
    (group,) = compare(runs).groups
    standing = group.standings["fd_cnn"]
    assert (standing.estimate.value, standing.estimate.interval, standing.seeds) == (
        4.0,
        pytest.approx((3.7, 4.3)),
        1,
    )


def test_specs_within_noise_share_a_rank(tmp_path: Path):
    """a and b overlap, b and c overlap, a and c do not: nobody beats b, only a beats c."""
    assert ranks(of(tmp_path, a=(4.0, 0.5), b=(4.6, 0.5), c=(5.2, 0.5), d=(9.0, 0.5))) == {
        "a": 1,
        "b": 1,
        "c": 2,
        "d": 4,
    }


@pytest.mark.parametrize(("half", "apart"), [(2.0, False), (0.1, True)])
def test_seeds_that_agree_are_no_more_certain_than_their_scores(tmp_path: Path, half: float, apart: bool):
    """Student's t gives ± 0.13 for the mean of 4.00 and 4.02, but each has ± half, from shared noise."""
    made = [
        make_run(
            tmp_path,
            f"name={name}",
            f"loss.norm={norm}",
            f"seed={seed}",
            scores={"fd_cnn": score(value + seed / 50, half)},
        )
        for name, norm, value in (("a", "l1", 4.0), ("b", "l2", 6.5))
        for seed in (0, 1)
    ]
    comparison = compare(made)
    assert ranks(comparison) == {"a": 1, "b": 2 if apart else 1}
    assert comparison.groups[0].standings["fd_cnn"].estimate.interval[1] > 4.01 + half


def test_higher_can_be_better(tmp_path: Path):
    runs = [
        make_run(
            tmp_path, f"name={name}", f"loss.norm={norm}", scores={"is_cnn": score(value, better="higher")}
        )
        for name, norm, value in (("a", "l1", 5.0), ("b", "l2", 8.0))
    ]
    comparison = compare(runs)
    assert ranks(comparison, "is_cnn") == {"a": 2, "b": 1}
    assert comparison.standings("is_cnn")[0][0].label == "b"
    assert comparison.groups[1].standings["is_cnn"].won
    assert "b is best" in summary(comparison)[0]


def test_within_noise_there_is_no_winner(tmp_path: Path):
    comparison = of(tmp_path, a=(4.0, 0.5), b=(4.1, 0.5), c=(9.0, 0.5))
    assert not any(group.standings["fd_cnn"].won for group in comparison.groups)
    said = next(line for line in summary(comparison) if line.startswith("fd_cnn"))
    assert said == (
        "fd_cnn: no winner: a is lowest, 4.00 [3.50, 4.50], but b is within noise of it;"
        " c is worse by more than noise (by 5.00 ± 0.81)."
    )


def test_beyond_noise_there_is_a_winner(tmp_path: Path):
    comparison = of(tmp_path, a=(5.0, 0.1), b=(4.0, 0.1))
    assert [group.standings["fd_cnn"].won for group in comparison.groups] == [False, True]
    said = summary(comparison)
    assert "fd_cnn: b is best, 4.00 [3.90, 4.10]; a is worse by more than noise (by 1.00 ± 0.14)." in said
    assert "single seed" in said[-1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": 500}, "n 500, not 1,000"),
        ({"extractor": "beef"}, "different extractor"),
        ({"split": "train"}, "split train, not test"),
        ({"preprocessing": "resized"}, "different preprocessing"),
    ],
)
def test_scores_that_are_measured_differently_are_not_ranked(
    tmp_path: Path, change: dict[str, object], why: str
):
    runs = [
        make_run(tmp_path, f"name={name}", f"train.lr={lr}", scores={"fd_cnn": score(5.0)})
        for name, lr in (("a", 1e-4), ("b", 2e-4))
    ]
    runs.append(make_run(tmp_path, "name=odd", scores={"fd_cnn": score(1.0, **change)}))
    comparison = compare(runs)
    assert ranks(comparison) == {"a": 1, "b": 1, "odd": None}
    odd = comparison.groups[2].standings["fd_cnn"]
    assert (odd.mark, odd.delta) == (why, None)
    assert f"odd is not ranked ({why})" in summary(comparison)[0]


def test_losses_of_another_objective_are_not_compared(tmp_path: Path):
    runs = [
        make_run(
            tmp_path, f"name={norm}-{seed}", f"loss.norm={norm}", f"seed={seed}", val_loss=value + seed / 100
        )
        for norm, value in (("l1", 0.3), ("l2", 0.1))
        for seed in (0, 1)
    ]
    comparison = compare(runs)
    assert list(ranks(comparison, "val_loss").values()) == [None, None]
    assert comparison.groups[1].standings["val_loss"].mark == "different loss"
    assert comparison.groups[1].standings["val_loss"].delta is None


def test_a_run_without_scores_has_no_interval_and_no_rank(tmp_path: Path):
    """Runs of early versions recorded no details of a score; the sample count is then the spec's."""
    comparison = of(tmp_path, a=(4.0, 0.1), b=(5.0, 0.1))
    old = make_run(tmp_path, "name=old", scores={"fd_cnn": score(1.0)})
    lines = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
    (old / "metrics.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k != "scores"}) + "\n" for line in lines)
    )
    standing = compare([old]).groups[0].standings["fd_cnn"]
    assert standing.estimate == Estimate(1.0)
    assert standing.condition["n"] == 8
    both = compare([*(run.path for group in comparison.groups for run in group.runs), old])
    assert (
        both.groups[2].standings["fd_cnn"].mark
        == "n 8, not 1,000; split not recorded; extractor not recorded; preprocessing not recorded"
    )


def test_an_unfinished_run_is_shown_with_its_status_and_not_ranked(
    tmp_path: Path, ddpmx: Callable[..., Result]
):
    comparison = of(tmp_path, a=(4.0, 0.1), b=(5.0, 0.1))
    late = make_run(tmp_path, "name=late", scores={"fd_cnn": score(1.0)}, status="running")
    runs = [*(run.path for group in comparison.groups for run in group.runs), late]
    assert ranks(compare(runs)) == {"a": 1, "b": 2, "late": None}
    assert re.search(r"^late +running ", ddpmx("compare", *runs).out, re.MULTILINE)


def test_the_last_measurement_counts_and_the_lowest_validation_loss(tmp_path: Path):
    run = make_run(tmp_path, scores={"fd_cnn": score(5.0)}, val_loss=0.2)
    folder = RunFolder(run)
    folder.add_event(
        {
            "event": "evaluate",
            "epoch": 2,
            "step": 20,
            "samples": 10_000,
            "metrics": {"fd_cnn": 4.0},
            "scores": {"fd_cnn": score(4.0, n=10_000)},
        }
    )
    results = compare([run]).groups[0].runs[0].results
    assert results["fd_cnn"].estimate.value == 4.0
    assert results["fd_cnn"].condition["n"] == 10_000
    assert (results["val_loss"].estimate.value, results["val_loss"].epoch) == (0.2, 2)


def test_a_loss_that_is_not_finite_is_no_result(tmp_path: Path):
    run = make_run(tmp_path, val_loss=math.nan)
    assert compare([run]).measures == ()


def test_differences_are_taken_to_the_baseline(tmp_path: Path):
    comparison = of(tmp_path, a=(4.0, 0.3), b=(6.0, 0.4))
    paths = [group.runs[0].path for group in comparison.groups]
    assert comparison.groups[0].standings["fd_cnn"].delta is None
    delta = comparison.groups[1].standings["fd_cnn"].delta
    assert delta is not None
    assert (delta.value, delta.interval) == (2.0, pytest.approx((1.5, 2.5)))
    other = compare(paths, baseline=paths[1])
    assert other.baseline.label == "b"
    back = other.groups[0].standings["fd_cnn"].delta
    assert back is not None
    assert (back.value, back.interval) == (-2.0, pytest.approx((-2.5, -1.5)))


def test_another_component_counts_as_one_difference():
    specs = [
        {
            "schedule": {"name": "linear", "timesteps": 100, "beta_end": 0.02},
            "loss": {"norm": "l2", "weighting": {"name": "vlb", "clip": 1.0}},
        },
        {
            "schedule": {"name": "cosine", "timesteps": 500, "s": 0.008},
            "loss": {"norm": "l2", "weighting": {"name": "vlb", "clip": 10.0}},
        },
        {
            "schedule": {"name": "linear", "timesteps": 500, "beta_end": 0.02},
            "loss": {"norm": "l1", "weighting": {"name": "vlb", "clip": 1.0}},
        },
    ]
    assert differing(specs) == ("schedule", "loss.weighting.clip", "loss.norm")
    assert texts([spec["schedule"] for spec in specs]) == [
        "linear (timesteps 100)",
        "cosine",
        "linear (timesteps 500)",
    ]


def test_a_block_that_one_lacks_counts_as_one_difference():
    specs = [
        {"train": {"ema": {"decay": 0.99, "warmup": True}}},
        {"train": {"ema": None}},
        {"train": {"ema": {"decay": 0.9, "warmup": True}}},
    ]
    assert differing(specs) == ("train.ema",)
    assert texts([spec["train"]["ema"] for spec in specs]) == ["decay 0.99", "null", "decay 0.9"]


def test_labels_are_unique():
    names = [{"a"}, {"a"}, {"b"}, {"c", "d"}]
    assert labels(names, {"train.lr": ["0.1", "0.2", "0.3", "0.4"]}) == ["lr=0.1", "lr=0.2", "b", "lr=0.4"]
    assert labels([{"a"}, {"a"}], {"x": ["same", "same"]}) == ["x=same", "x=same (2)"]


@pytest.mark.parametrize(
    ("estimate", "seeds", "text"),
    [
        (Estimate(4.1234, (3.9012, 4.3456)), 1, "4.12 [3.90, 4.35]"),
        (Estimate(4.1234, (3.9012, 4.3456)), 3, "4.12 ± 0.22"),
        (Estimate(12345.6, (12000.0, 12691.2)), 3, "12,350 ± 350"),
        (Estimate(0.00012345, (0.000123, 0.0001239)), 1, "0.00012345 [0.00012300, 0.00012390]"),
        (Estimate(7.0), 1, "7"),
    ],
)
def test_numbers_have_the_digits_that_their_noise_allows(estimate: Estimate, seeds: int, text: str):
    assert amount(estimate, seeds) == text


def test_sorting(tmp_path: Path):
    comparison = of(tmp_path, b=(5.0, 0.1), a=(4.0, 0.1), c=(6.0, 0.1))

    def order(key: str | None) -> str:
        return "".join(group.label for group in sort(comparison, key))

    assert (order(None), order("fd_cnn"), order("name"), order("train.lr")) == ("bac", "abc", "abc", "bac")
    with pytest.raises(SpecError, match=r"--sort.*did you mean 'fd_cnn'"):
        sort(comparison, "fd_cn")


def test_a_folder_of_runs_stands_for_all_inside(tmp_path: Path):
    made = [
        make_run(tmp_path / "runs", f"name={name}", f"train.lr={lr}")
        for name, lr in (("a", 1e-4), ("b", 2e-4))
    ]
    again = make_run(tmp_path / "runs", "name=b", "train.lr=2e-4", "seed=1")
    assert [[run.path for run in group.runs] for group in compare([tmp_path / "runs"]).groups] == [
        [made[0]],
        [made[1], again],
    ]
    assert [len(group.runs) for group in compare([tmp_path / "runs" / "b", made[1]]).groups] == [2]


def test_the_command_line_table_is_whole_where_it_is_no_terminal(
    tmp_path: Path, ddpmx: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    long = "a" * 90
    runs = [
        make_run(tmp_path, f"name={long}", scores={"fd_cnn": score(4.0)}),
        make_run(tmp_path, "name=b", "loss.norm=l1", scores={"fd_cnn": score(5.0)}),
    ]
    result = ddpmx("compare", *runs)
    assert result.code == 0
    row = next(line for line in result.out.splitlines() if line.startswith(long))
    assert row.split()[1:] == [
        "finished",
        "1",
        "l2",
        "4.00",
        "[3.90,",
        "4.10]",
        "1",
        "baseline",
        "0.25",
        "–",
        "no",
        "interval",
        "baseline",
    ]
    assert "\x1b" not in result.out


def test_csv_and_json_have_the_numbers_in_full(tmp_path: Path, ddpmx: Callable[..., Result]):
    runs = [
        make_run(tmp_path, f"name={name}", f"train.lr={lr}", scores={"fd_cnn": score(value)})
        for name, lr, value in (("a", 1e-4, 4.0), ("b", 2e-4, 1 / 3))
    ]
    result = ddpmx("compare", *runs, "--csv", tmp_path / "new" / "all.csv", "--json", "--sort", "fd_cnn")
    data = json.loads(result.out)
    assert [group["run"] for group in data["groups"]] == ["b", "a"]
    assert data["groups"][0]["measures"]["fd_cnn"]["value"] == 1 / 3
    assert data["groups"][0]["measures"]["fd_cnn"]["delta"] == 1 / 3 - 4.0
    assert data["groups"][0]["runs"][0]["results"]["fd_cnn"]["score"]["floor"] == 0.5
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "all.csv").read_text())))
    assert [(row["run"], float(row["fd_cnn"]), row["train.lr"]) for row in rows] == [
        ("b", 1 / 3, "0.0002"),
        ("a", 4.0, "0.0001"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [("{run}", "--sort", "loss"), ("{run}", "nowhere"), ("{out}/empty",), ("{run}", "--baseline", "nowhere")],
)
def test_wrong_input_is_exit_2(tmp_path: Path, ddpmx: Callable[..., Result], arguments: tuple[str, ...]):
    run = make_run(tmp_path)
    (tmp_path / "empty").mkdir()
    result = ddpmx("compare", *(argument.format(run=run, out=tmp_path) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")


def test_json_of_the_components_has_their_parameters(ddpmx: Callable[..., Result]):
    everything, kind, one = (
        json.loads(ddpmx("list", *names, "--json").out)
        for names in ((), ("schedules",), ("schedule", "linear"))
    )
    assert {"schedule", "sampler", "metric"} <= {component["kind"] for component in everything}
    assert kind == [component for component in everything if component["kind"] == "schedule"]
    assert one == [component for component in kind if component["name"] == "linear"]
    fields = {parameter["name"]: parameter for parameter in one[0]["parameters"]}
    assert (fields["timesteps"]["required"], fields["rescale"]["required"], fields["rescale"]["default"]) == (
        True,
        False,
        False,
    )


def test_json_of_doctor(ddpmx: Callable[..., Result]):
    data = json.loads(ddpmx("doctor", "--json").out)
    assert data["backend"]["reference"].startswith("available")
    assert "largest error" in data["self-check"]["add_noise on cpu"]


def test_json_has_no_word_for_nan():
    assert json.loads(
        to_json({"a": [math.nan, math.inf, 1.5], "b": Path("x")}), parse_constant=pytest.fail
    ) == {
        "a": [None, None, 1.5],
        "b": "x",
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_breaks_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("TERM", "xterm")
    made = [
        make_run(tmp_path, f"loss.norm={norm}", f"seed={seed}", scores={"fd_cnn": score(value + seed / 10)})
        for norm, value in (("l1", 4.0), ("l2", 9.0))
        for seed in (0, 1)
    ]
    comparison = compare(made)
    out = Terminal()
    print_table(comparison, comparison.groups, out)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    for said in ("norm=l1", "4.05 ± 0.64", "9.05 ± 0.64", "rank 2 · Δ +5.00 ± 0.30", "different loss"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 70
    assert "status" not in text
