"""Errors of options and arguments: numbers out of range, unknown classes, plugins, trackers' parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from made_runs import make_run
from refusals import refused

from ddpmx.errors import SpecError
from ddpmx.training.classes import parse_classes

Run = Callable[..., Result]

NUMBERS = [
    ("sample", "--seed", 2**64),
    ("sample", "--seed", -(2**63) - 1),
    ("sample", "--seed", 99999999999999999999),
    ("sample", "--to-seed", 2**64),
    ("sample", "-n", 10**9),
    ("sample", "-n", 0),
    ("sample", "--steps", 10**6),
    ("sample", "--resample", 10**9),
    ("sample", "--strength", "nan"),
    ("sample", "--strength", "inf"),
    ("sample", "--strength", 0.0),
    ("sample", "--strength", 1.5),
    ("sample", "--guidance", "nan"),
    ("sample", "--guidance", -1.0),
    ("evaluate", "-n", 1),
    ("evaluate", "-n", 10**12),
    ("sweep", "--jobs", 0),
    ("sweep", "--jobs", 10**9),
]


@pytest.mark.parametrize(("command", "name", "value"), NUMBERS)
def test_a_number_out_of_range_names_its_option(ddpmx: Run, command: str, name: str, value: object) -> None:
    refused(ddpmx(command, "nowhere", name, value), f"Invalid value for '{name}': {value} is not ")


def test_classes_whose_names_hold_commas_or_look_like_numbers() -> None:
    names = ["salt, pepper", "a", "b", "a,b", "10", "0", " x ", 'say "hi"']
    for text, found in (
        ("salt, pepper,a", [0, 1]),
        ("a,b", [3]),
        ("a, b", [1, 2]),
        ('"a","b"', [1, 2]),
        ('a,"a,b",b', [1, 3, 2]),
        ("10,0,1", [4, 5, 1]),  # the classes named 10 and 0, and class number 1
        ("7,6", [7, 6]),
        (" x ,x", [6, 6]),
        ('say "hi",a', [7, 1]),
    ):
        assert parse_classes(text, names) == found, text
    for text, word in (
        ("c", "c"),
        ("a,", ""),
        ("8", "8"),
        ("-1", "-1"),
        ("a b", "a b"),
        ("9" * 5000, "99999"),
        ('"a', '"a'),
    ):
        with pytest.raises(SpecError, match=f"there is no class '{word}"):
            parse_classes(text, names)


@pytest.mark.parametrize(
    "plugin", ["/dev/null", "no_such_module_here", "no_such_module_here.part", ".relative"]
)
def test_what_is_no_plugin_is_told_what_one_is(ddpmx: Run, plugin: str) -> None:
    refused(
        ddpmx("check", plugin),
        "a plugin is a Python file, with a name that ends in .py, or an installed module",
    )


def test_a_trackers_missing_parameter_names_the_option(ddpmx: Run, tmp_path: Path) -> None:
    refused(ddpmx("track", make_run(tmp_path / "runs" / "a" / "1"), "--to", "jsonl"), "set it with -s path=…")
