"""Damage to run folders that hypothesis generates, as by accidents or attackers, and commands that must
survive it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from ddpmx.comparison.comparison import compare
from ddpmx.comparison.output import print_table, to_csv, to_data
from ddpmx.comparison.page import write_page
from ddpmx.pages.report import write_report
from ddpmx.process.stop import StopSignal
from ddpmx.runs.active_run import ActiveRun
from ddpmx.runs.known_runs import finished_runs
from ddpmx.runs.opening import open_run
from ddpmx.runs.replay import replay
from ddpmx.runs.resume import find_previous
from ddpmx.spec.loading import load
from ddpmx.spec.schema import Spec
from ddpmx.spec.yaml_source import read
from ddpmx.storage.folder import RunFolder, to_yaml
from ddpmx.terminal.console import Bar, to_json
from ddpmx.trackers import Trackers
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.state import prepare
from ddpmx.world import World

CPU = torch.device("cpu")
WORDS = [
    "event",
    "epoch",
    "step",
    "samples",
    "per_t",
    "end",
    "diverged",
    "evaluate",
    "metrics",
    "scores",
    "fid",
    "interval",
    "seed",
]
WORDS += [
    "val_loss",
    "unstable",
    "verdict",
    "status",
    "name",
    "train",
    "dataset",
    "row",
    "best_step",
    "files",
    "sha256",
    "path",
    "rollbacks",
]
ODD = ["", "\0", "\x1b[31m", "\ud800", "é", "../x", "/dev/zero", "nan", "x" * 3000, "<script>"]
texts = st.sampled_from([*ODD, *WORDS]) | st.text(max_size=8)
numbers = (
    st.integers(-3, 10)
    | st.floats()
    | st.sampled_from([2**63, -(2**63), 10**30, 10**400, 1e308, -1e308, 5e-324, 1e150])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
deep = st.sampled_from([30, 150, 250, 3000]).map(lambda depth: "[" * depth + "]" * depth)
pieces = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"{",
        b"}",
        b"[",
        b'"',
        b",",
        b":",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"NaN",
        b"1e999",
        b"null",
    ]
)
JSON_FILES = ("status.json", "environment.json", "checkpoints/6/state.json", "checkpoints/3/state.json")
PATHS = (
    *(
        "spec.yaml",
        "status.json",
        "environment.json",
        "metrics.jsonl",
        "log.csv",
        "samples",
        "plots",
        "checkpoints",
        ".lock",
    ),
    *(
        "samples/final.png",
        "samples/epoch-0001.png",
        "plots/beta.svg",
        "checkpoints/last",
        "checkpoints/best",
        "checkpoints/6",
    ),
    *(
        "checkpoints/3",
        "checkpoints/6/state.json",
        "checkpoints/6/model.safetensors",
        "checkpoints/6/optimizer.safetensors",
    ),
)
KINDS = ("nothing", "folder", "pipe", "file", "number", "dangling", "loop", "device", "inside")


def damage(data: st.DataObject, run: Path) -> None:
    """Make one to three changes to an intact run."""
    for _ in range(data.draw(st.integers(1, 3))):
        change = data.draw(st.sampled_from([_event, _event, _event, _json, _json, _spec, _bytes, _kind]))
        change(data, run)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) inside a value, at any depth."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _items(value[key])


def _edited(data: st.DataObject, value: Any) -> Any:
    """The value with an item replaced, renamed, removed or added."""
    items = list(_items(value)) if isinstance(value, dict | list) else []
    if not items or data.draw(st.integers(0, 20)) == 0:
        return data.draw(values)
    container, key = data.draw(st.sampled_from(items))
    how = data.draw(st.sampled_from(["value", "value", "number", "gone", "key", "more"]))
    if how in ("value", "number"):
        container[key] = data.draw(values if how == "value" else numbers)
    elif how == "gone":
        del container[key]
    elif isinstance(container, dict):
        container[data.draw(texts)] = container[key] if how == "more" else container.pop(key)
    return value


def _written(data: st.DataObject, value: Any) -> str:
    text = json.dumps(value)
    return text.replace("null", data.draw(deep), 1) if data.draw(st.integers(0, 15)) == 0 else text


def _is_file(path: Path) -> bool:
    return path.is_file() and not str(path.resolve()).startswith("/dev")


def _event(data: st.DataObject, run: Path) -> None:
    """Change, insert or repeat a line of metrics.jsonl."""
    file = run / "metrics.jsonl"
    if not _is_file(file):
        return
    lines = file.read_bytes().split(b"\n")
    index = data.draw(st.integers(0, len(lines) - 1))
    try:
        line = _written(data, _edited(data, json.loads(lines[index]))).encode()
    except ValueError:  # damaged by an earlier change
        return
    lines[index : index + data.draw(st.integers(0, 1))] = [line] * data.draw(st.sampled_from([1, 1, 1, 3]))
    file.write_bytes(b"\n".join(lines))


def _json(data: st.DataObject, run: Path) -> None:
    file = run / data.draw(st.sampled_from(JSON_FILES))
    if not _is_file(file):
        return
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return
    if isinstance(content, dict) and "train" in content and data.draw(st.integers(0, 3)):
        # Without the checksums, which would reveal the change.
        content = {key: content[key] for key in ("train", "optimizer") if key in content}
    file.write_text(_written(data, _edited(data, content)))


def _spec(data: st.DataObject, run: Path) -> None:
    file = run / "spec.yaml"
    if not _is_file(file):
        return
    try:
        content = _edited(data, read(file).data)
        if data.draw(st.booleans()):
            content.pop("plugins", None)
        # Never a name, as a module of that name would be imported.
        text = to_yaml({**content, **({"plugins": []} if "plugins" in content else {})})
        file.write_text(text, encoding="utf-8")
    except Exception:
        return


def _bytes(data: st.DataObject, run: Path) -> None:
    """Insert bytes into a file, remove some, or both."""
    file = run / data.draw(st.sampled_from(PATHS))
    if not _is_file(file):
        return
    content = file.read_bytes()
    index = data.draw(st.integers(0, min(len(content), 100_000)))
    content = (
        content[:index]
        + data.draw(pieces | st.binary(max_size=6))
        + content[index + data.draw(st.sampled_from([0, 1, 8, 10**6])) :]
    )
    file.write_bytes(content)


def _kind(data: st.DataObject, run: Path) -> None:
    """Replace a file or folder with something of another kind."""
    path, kind = run / data.draw(st.sampled_from(PATHS)), data.draw(st.sampled_from(KINDS))
    if not path.parent.is_dir():
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    make: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "file": lambda: path.write_text("x"),
        "number": lambda: path.write_text("3"),
        "dangling": lambda: path.symlink_to("gone"),
        "loop": lambda: path.symlink_to(path.name),
        "device": lambda: path.symlink_to("/dev/zero"),
        "inside": lambda: path.symlink_to(run),
    }
    make[kind]()


@cache
def _experiment(spec: Path) -> Experiment:
    return build(load(spec), CPU)


def _resumed(run: Path, spec: Path) -> None:
    """Prepare to resume, as `--resume` does before it trains."""
    experiment = _experiment(spec)
    active = ActiveRun(
        experiment, RunFolder(run), Trackers(), World(), StopSignal(), Bar(quiet=True), prepare(experiment)
    )
    active.restore()
    active.folder.status()
    active.folder.tidy()
    active.rewind_log()


def _find(run: Path, path: Path) -> None:
    spec: Spec = _experiment(path).spec
    find_previous(spec, run.parents[1], None)
    finished_runs([spec], run.parents[1])
    find_previous(spec, run.parents[1], run)


def _compared(run: Path, spec: Path) -> None:
    comparison = compare([run])
    print_table(comparison, comparison.groups, io.StringIO())
    to_csv(comparison, comparison.groups)
    json.loads(to_json(to_data(comparison, comparison.groups)))


def _page(run: Path, spec: Path) -> None:
    comparison = compare([run])
    write_page(comparison, comparison.groups, run.parent / "page.html")


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "compare": _compared,
    "resume": _resumed,
    "find": _find,
    "open": lambda run, spec: open_run(run, (), CPU, "best"),
    "open last": lambda run, spec: open_run(run, (), CPU, "last"),
    "track": lambda run, spec: replay(run, "jsonl", (f"path={run.parent / 'all.jsonl'}",)),
    "report": lambda run, spec: write_report(run),
    "page": _page,
}
"""Functions that take a run folder and its spec file. The last two take a second each."""
