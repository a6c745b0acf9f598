"""A run's folder, `<out>/<name>/<run-id>/`: the truth that reports, trackers, resume and sampling read.

spec.yaml  environment.json  status.json  metrics.jsonl  log.csv
samples/  checkpoints/  plots/  plugins/  report.html
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from .errors import SpecError
from .plugins import file_hash
from .spec import Spec
from .yaml_source import read

COLUMNS = ("epoch", "step", "train_loss", "val_loss")
LAST_COLUMNS = ("seconds", "images_per_second")


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
        resolved = spec.resolved()
        resolved["plugins"] = [_copy_plugin(plugin, path) for plugin in spec.plugins]
        write_atomically(path / "spec.yaml", to_yaml(resolved))
        for folder in ("samples", "plots", "checkpoints"):
            (path / folder).mkdir()
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
        path = self.path / name
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def set_status(self, status: str, why: str = "", **more: Any) -> None:
        """`running`, `finished`, `interrupted` or `failed`, and why."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.write_json("status.json", {"status": status, "why": why, **more, "pid": os.getpid(), "time": now})

    def add_event(self, event: Mapping[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All events in order; a torn last line, which a kill can leave, is not one."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def cut_after(self, step: int, epoch: int) -> None:
        """Forget the events after a step, the ends, and the row of a pass that is not whole: the run makes them again."""

        def stays(event: dict[str, Any]) -> bool:
            return event["event"] != "end" and int(event["step"]) <= step and (event["event"] != "epoch" or int(event["epoch"]) <= epoch)

        kept = [event for event in self.events() if stays(event)]
        write_atomically(self.path / "metrics.jsonl", "".join(json.dumps(event) + "\n" for event in kept))

    def write_log(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """log.csv from the events of the epochs, a column for each metric."""
        rows = list(rows)
        metrics = metric_names(rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, *metrics, *LAST_COLUMNS])
        for row in rows:
            values = [row[key] for key in COLUMNS] + [row["metrics"].get(name) for name in metrics] + [row[key] for key in LAST_COLUMNS]
            writer.writerow(["" if value is None else repr(value) for value in values])
        write_atomically(self.path / "log.csv", text.getvalue())


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


def metric_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that epochs' events hold, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row["metrics"]))


def fingerprinted(resolved: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A resolved spec whose plugin files are replaced by their content hashes."""
    hashes = [file_hash(folder / plugin) if plugin.endswith(".py") else plugin for plugin in resolved.get("plugins", ())]
    return {**resolved, "plugins": hashes}


def write_atomically(path: Path, text: str) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one, whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


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
