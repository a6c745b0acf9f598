"""CONTRIBUTING.md matches the code.

Its files exist, a component is one new file, and a change touches exactly the files in its row.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from added_components import MODULES, SPEC

from ddpmx.components.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NEW = "NAME"
"""The placeholder in the table for the name of a new file."""


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def paths(text: str) -> list[str]:
    """The files and folders named in a piece of the text."""
    return re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|toml|txt|py))`", text)


TABLE = re.findall(
    r"^\| (?!---|to add)([^|]+?) +\| ([^|]+)", section("Where to go to change …"), re.MULTILINE
)
ROWS = {what: paths(files) for what, files in TABLE}
COMPONENTS = {
    "a network": "model",
    "a data set": "dataset",
    "a metric": "metric",
    "a sampler": "sampler",
    "a schedule": "schedule",
    "a prediction": "prediction",
    "a weighting": "weighting",
    "a time distribution": "time",
    "a tracker": "tracker",
    "an optimizer": "optimizer",
    "an EMA": "ema",
}


def mentioning(pattern: str, *folders: str) -> set[str]:
    """The source files in these folders that match the pattern."""
    sources = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".h", ".cpp", ".cu", ".jinja")
    ]
    return {path.relative_to(ROOT).as_posix() for path in sources if re.search(pattern, path.read_text())}


def test_every_file_that_is_named_exists():
    named = [path for path in paths(TEXT) if NEW not in path]
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_kind_of_component_has_a_row_with_one_new_file():
    assert set(COMPONENTS.values()) == set(REGISTRIES)
    for row, kind in COMPONENTS.items():
        assert ROWS[row] == [f"ddpmx/{REGISTRIES[kind]._home.rpartition('.')[2]}/{NEW}.py"]


def test_a_component_of_each_kind_is_one_new_file(tmp_path: Path):
    """All eleven, added to a copy of the package, are listed, and a spec that uses them runs."""
    shutil.copytree(ROOT / "ddpmx", tmp_path / "ddpmx", ignore=shutil.ignore_patterns("__pycache__"))
    for row in COMPONENTS:
        new = tmp_path / ROWS[row][0].replace(NEW, "added")
        new.write_text(MODULES[new.parent.name])
    (tmp_path / "spec.yaml").write_text(SPEC)
    code = (
        "from ddpmx.cli import cli\n"
        "for line in (['list', '--json'], ['run', 'spec.yaml']): cli.main(line, standalone_mode=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    listed, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert {(part["kind"], part["name"]) for part in listed if part["name"].startswith("added_")} == {
        (kind, f"added_{ROWS[row][0].split('/')[1]}") for row, kind in COMPONENTS.items()
    }
    (run,) = (tmp_path / "runs" / "added").glob("*/status.json")
    assert json.loads(run.read_text())["status"] == "finished"
    assert (run.parent / "added_trackers.txt").read_text() == "finished"
    assert '"added_metrics": 4.0' in (run.parent / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("row", "pattern", "folders"),
    [
        ("a field of `train:`", r"\bgrad_clip\b", ["ddpmx"]),
        ("a CUDA op", r"\badd_noise|\bAddNoise\b", ["csrc", "ddpmx/ops"]),
        ("a CPU layer kernel", r"\bdepthwise|\bDepthwise", ["csrc", "ddpmx/ops"]),
    ],
)
def test_a_row_names_all_files_that_an_example_of_it_touches(row: str, pattern: str, folders: list[str]):
    assert set(ROWS[row]) == mentioning(pattern, *folders)


def test_each_step_of_a_journey_is_in_its_file():
    steps = re.findall(r"^(\d+)\. `([^`]+)` `(\w+)`: ", section("Three journeys, file by file"), re.MULTILINE)
    assert [number for number, _, _ in steps].count("1") == 3
    assert [
        (file, name) for _, file, name in steps if not re.search(rf"\b{name}\b", (ROOT / file).read_text())
    ] == []
