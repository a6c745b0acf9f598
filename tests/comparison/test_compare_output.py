"""What `compare` prints and writes: the terminal's table, CSV and JSON; and the JSON of other commands."""

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

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.output import print_table
from ddpmx.comparison.words import amount, note
from ddpmx.terminal.console import to_json
from ddpmx.theory.estimate import Estimate


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


def test_the_command_line_table_is_whole_where_it_is_no_terminal(
    tmp_path: Path, ddpmx: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    long = "a" * 90
    runs = [
        make_run(
            tmp_path, f"name={name}", f"loss.norm={norm}", f"seed={seed}", scores={"fd_cnn": score(value)}
        )
        for name, norm, value in ((long, "l2", 4.0), ("b", "l1", 5.0))
        for seed in (0, 1)
    ]
    result = ddpmx("compare", *runs)
    assert result.code == 0
    row = next(line for line in result.out.splitlines() if line.startswith(long))
    assert row.split()[1:] == [
        "finished",
        "2",
        "l2",
        "4.00",
        "±",
        "0.10",
        "1",
        "baseline",
        "0.25",
        "–",
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
    worse = comparison.groups[1]
    delta = note(worse, worse.standings["fd_cnn"], comparison, "fd_cnn")
    assert delta.startswith("rank 2 · Δ +5.00 ± ")
    for said in ("norm=l1", "4.05 ± 0.64", "9.05 ± 0.64", delta, "different loss"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 70
    assert "status" not in text
