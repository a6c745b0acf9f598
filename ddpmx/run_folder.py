"""A run's folder, `<out>/<name>/<run-id>/`: the truth that reports, trackers, resume and sampling read.

spec.yaml  environment.json  status.json  metrics.jsonl  log.csv
samples/  checkpoints/  plots/  plugins/  report.html
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from .checkpoint_folder import sync
from .errors import RunError, SpecError
from .outputs import whole
from .plugins import file_hash
from .spec import Spec
from .yaml_source import read

COLUMNS = ("epoch", "step", "train_loss", "val_loss")
LAST_COLUMNS = ("seconds", "images_per_second")
FINAL = "samples/final.png"
"""The grid that ends a run."""


class RunFolder:
    """Paths and files of one run. Raises SpecError where the folder is none of ddpmx's."""

    def __init__(self, path: Path) -> None:
        if not (path / "spec.yaml").is_file():
            raise SpecError(
                f"{path} is not a run: it has no spec.yaml", hint="a run is <out>/<name>/<run-id>, for example runs/quickstart/…"
            )
        _refuse_links_out(path)
        self.path = path
        self.samples, self.plots, self.checkpoints = path / "samples", path / "plots", path / "checkpoints"

    @classmethod
    def create(cls, out: Path, spec: Spec) -> RunFolder:
        """A new folder with the resolved spec and copies of its plugins; its id is the time."""
        parent = out / spec.name
        stamp = time.strftime("%Y%m%d-%H%M%S")
        names = [stamp, *(f"{stamp}-{n}" for n in range(2, 1000))]
        for name in names:
            path = parent / name
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise SpecError(f"the run folder {path} cannot be made: {error.strerror}", hint="--out names another place") from None
        try:
            resolved = spec.resolved()
            resolved["plugins"] = [_copy_plugin(plugin, path) for plugin in spec.plugins]
            write_atomically(path / "spec.yaml", to_yaml(resolved))
            for folder in ("samples", "plots", "checkpoints"):
                (path / folder).mkdir()
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise RunError(f"the run folder {path} cannot be written: {error.strerror}") from None
        return cls(path)

    def spec_data(self) -> dict[str, Any]:
        """The resolved spec as it is written."""
        return read(self.path / "spec.yaml").data

    def resolved(self) -> dict[str, Any]:
        """The resolved spec with each plugin's file replaced by its content hash: what two runs compare by."""
        return fingerprinted(self.spec_data(), self.path)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, json.dumps(content, indent=2, default=str) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """A file's mapping, empty where there is none. Raises RunError where it is damaged."""
        path = self.path / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} is damaged: {error}") from None

    def set_status(self, status: str, why: str = "", **more: Any) -> None:
        """`running`, `finished`, `interrupted` or `failed`, and why."""
        self.write_json("status.json", status_now(status, why, **more))

    def add_event(self, event: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl, whole or not there, whatever a killed process or a full disk left at its end."""
        line = json.dumps(event).encode() + b"\n"
        with (self.path / "metrics.jsonl").open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # `evaluate` may write while the run does
            whole = file.seek(0, os.SEEK_END)
            while whole and os.pread(file.fileno(), 1, whole - 1) != b"\n":
                whole -= 1
            file.truncate(whole)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            except OSError:
                file.truncate(whole)
                raise

    def sync_events(self) -> None:
        """Wait until the disk has them."""
        if (self.path / "metrics.jsonl").exists():
            sync(self.path / "metrics.jsonl")

    def tidy(self) -> None:
        """Delete the half-written files of killed processes."""
        for entry in self.path.glob(".*.*"):
            if entry.suffix[1:].isdigit():
                entry.unlink()

    def events(self) -> list[dict[str, Any]]:
        """All events in order; a torn last line, which a kill can leave, is not one. Raises RunError at a damaged line."""
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{path}:{number} is damaged: {error}") from None
        return found

    def cut_after(self, step: int, epoch: int) -> None:
        """Forget what a run that goes on from there makes again.

        Those are the events after the step, the ends, and what was drawn and measured for a pass that is not whole or has no row.
        """
        events = [event for event in self.events() if event["event"] != "end" and int(event["step"]) <= step]
        done = max((event["epoch"] for event in events if event["event"] == "epoch" and event["epoch"] <= epoch), default=0)

        def stays(event: dict[str, Any]) -> bool:
            of_a_row = event["event"] in ("samples", "per_t", "epoch")
            return not of_a_row or (event["epoch"] <= done and event.get("path") != FINAL)

        write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(event) + "\n" for event in events if stays(event)))

    def write_log(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """log.csv from the events of the epochs, a column for each metric."""
        rows = list(rows)
        columns = [*COLUMNS, *metric_names(rows), *LAST_COLUMNS]
        write_atomically(self.path / "log.csv", _csv([columns, *(_cells(row, columns) for row in rows)]))

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A row more at the end of log.csv, which is written anew where that brings a new column."""
        path = self.path / "log.csv"
        with path.open("a+", newline="", encoding="utf-8") as file:
            file.seek(0)
            columns = next(csv.reader(file), [])
            if columns and row["metrics"].keys() <= set(columns):
                file.write(_csv([_cells(row, columns)]))
                return
        self.write_log(event for event in self.events() if event["event"] == "epoch")


def _cells(row: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    values = {**row["metrics"], **{key: row[key] for key in (*COLUMNS, *LAST_COLUMNS)}}
    return ["" if values.get(column) is None else repr(values[column]) for column in columns]


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _refuse_links_out(run: Path) -> None:
    """Raises SpecError for a link that leads out of the folder, which may be a stranger's: what is written there would follow it."""
    root = run.resolve()
    for folder, folders, files in os.walk(root):
        for entry in (Path(folder, name) for name in (*folders, *files)):
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise SpecError(
                    f"{entry} is a link out of the run's folder, through which ddpmx would write", hint="replace it by what it leads to"
                )
        if Path(folder) == root and "wandb" in folders:
            folders.remove("wandb")  # links to its logs; nothing of ours is written there


def status_now(status: str, why: str = "", **more: Any) -> dict[str, Any]:
    """What status.json says of a run that this process is working on."""
    return {"status": status, "why": why, **more, "pid": os.getpid(), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def metric_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that epochs' events hold, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row["metrics"]))


def fingerprinted(resolved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A resolved spec whose plugin files are replaced by their content hashes: two runs with equal ones compute the same."""
    hashes = [file_hash(folder / plugin) if plugin.endswith(".py") else plugin for plugin in resolved.get("plugins", ())]
    return {**_with_reference(resolved), "plugins": hashes}


def _with_reference(resolved: dict[str, Any]) -> dict[str, Any]:
    """`reference: test` in place of null, which was the default once and computes the same wherever it can be computed."""
    evaluate = resolved.get("evaluate")
    metrics = evaluate.get("metrics") if isinstance(evaluate, dict) else None
    if not isinstance(evaluate, dict) or not isinstance(metrics, list | tuple):
        return resolved
    named = [
        {**metric, "reference": "test"} if isinstance(metric, dict) and metric.get("reference", "") is None else metric
        for metric in metrics
    ]
    return {**resolved, "evaluate": {**evaluate, "metrics": named}}


def write_atomically(path: Path, text: str) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one, whole. UTF-8. Raises OSError."""
    with whole(path) as place:
        place.write_text(text, encoding="utf-8", errors="backslashreplace")


def to_yaml(data: Mapping[str, Any]) -> str:
    """YAML 1.2 that `yaml_source` reads back as the same data."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(dict(data), text)
    return text.getvalue().removeprefix("%YAML 1.2\n---\n")


def _copy_plugin(plugin: str, run: Path) -> str:
    if not plugin.endswith(".py"):
        return plugin
    (run / "plugins").mkdir(exist_ok=True)
    source = Path(plugin)
    target = run / "plugins" / source.name
    if target.exists() and file_hash(target) != file_hash(source):
        target = run / "plugins" / f"{source.stem}_{file_hash(source)[:8]}.py"
    shutil.copyfile(source, target)
    return str(target.relative_to(run))
