"""The block `train.ema`: a component, whose name may be left out, or null."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from conftest import TINY, Result

from ddpmx.errors import SpecError
from ddpmx.runs.known_runs import finished_runs
from ddpmx.spec.loading import load
from ddpmx.spec.schema import json_schema
from ddpmx.storage.comparable import fingerprinted
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]
DEFAULT = {"name": "constant", "decay": 0.9999, "warmup": True}


def ema_of(spec: Path, *overrides: str) -> object:
    """The block as the resolved spec has it."""
    train = load(spec, overrides).resolved()["train"]
    assert isinstance(train, dict)
    return train["ema"]


def test_what_it_means(tiny: Path) -> None:
    assert ema_of(tiny) == DEFAULT
    assert ema_of(tiny, "train.ema=null") is None
    assert ema_of(tiny, "train.ema=constant") == DEFAULT
    assert ema_of(tiny, "train.ema.decay=0.99") == {**DEFAULT, "decay": 0.99}
    assert ema_of(tiny, "train.ema=null", "train.ema.decay=0.99") == {**DEFAULT, "decay": 0.99}
    assert ema_of(tiny, "train.ema={warmup: false}") == {**DEFAULT, "warmup": False}


def test_a_spec_inherits_and_changes_it(tiny: Path) -> None:
    base = tiny.with_name("base.yaml")
    base.write_text(TINY.replace("lr: 1e-3", "lr: 1e-3, ema: {decay: 0.5, warmup: false}"))
    for block, expected in {
        "{decay: 0.6}": {"name": "constant", "decay": 0.6, "warmup": False},
        "{name: constant}": {"name": "constant", "decay": 0.5, "warmup": False},
        "null": None,
    }.items():
        tiny.write_text(f"extends: base.yaml\ntrain: {{ema: {block}}}\n")
        assert ema_of(tiny) == expected


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("3", "train.ema: should be the name of an ema or a block with `name:`"),
        ("constnt", "train.ema.name: unknown ema 'constnt'; did you mean 'constant'?"),
        ("{decay: 1}", "train.ema.decay: should be less than 1, not 1"),
        ("{decay: -0.1}", "train.ema.decay: should be greater than or equal to 0, not -0.1"),
        ("{decy: 0.9}", "train.ema.decy: unknown key; did you mean 'decay'?"),
        ("{name: 3}", "train.ema.name: should have a `name:`, a string"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tiny: Path, block: str, message: str) -> None:
    tiny.write_text(TINY.replace("lr: 1e-3", f"lr: 1e-3, ema: {block}"))
    with pytest.raises(SpecError) as error:
        load(tiny)
    (line,) = error.value.lines()
    assert line.startswith(f"{tiny}:6: {message}")


def test_the_schema_for_editors_accepts_each_form_and_nothing_else() -> None:
    schema = json_schema()
    block = {"$defs": schema["$defs"], **schema["$defs"]["TrainSpec"]}  # type: ignore[index]
    validator = jsonschema.Draft202012Validator(block)
    for ema in (None, "constant", {"decay": 0.9}, {"name": "constant", "warmup": False}):
        assert not list(validator.iter_errors({"ema": ema})), ema
    for ema in (3, "no such", {"decy": 0.9}, {"name": "no such"}):
        assert list(validator.iter_errors({"ema": ema})), ema


def test_it_is_listed(ddpmx: Run) -> None:
    (listed,) = json.loads(ddpmx("list", "EMAS", "constant", "--json").out)
    assert (listed["kind"], listed["name"]) == ("ema", "constant")
    assert [field["name"] for field in listed["parameters"]] == ["decay", "warmup"]


def test_a_run_from_before_names_were_written_has_the_same_spec(copied: Path) -> None:
    spec = load(copied / "spec.yaml")
    text = (copied / "spec.yaml").read_text()
    assert "{name: constant, decay: 0.9999, warmup: true}" in text
    (copied / "spec.yaml").write_text(text.replace("{name: constant, decay", "{decay"))
    folder = RunFolder(copied)
    assert "name" not in folder.spec_data()["train"]["ema"]  # type: ignore[typeddict-item]
    assert folder.resolved() == fingerprinted(spec.resolved(), copied)
    assert finished_runs([spec], copied.parents[1]) == {"tiny": copied}
