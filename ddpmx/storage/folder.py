"""A run's folder, `<out>/<name>/<run-id>/`: all that reports, trackers, resuming and sampling read.

spec.yaml  environment.json  status.json  metrics.jsonl  log.csv
samples/  checkpoints/  draws/  ema/  moments/  plots/  plugins/  report.html

A run that shares the training of another one has `training.json` instead of `checkpoints/` and `ema/`.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Unpack

from ruamel.yaml import YAML

from ..errors import RunError, SpecError
from ..files import why
from ..plugins.loading import file_hash
from ..spec.schema import Spec
from ..terminal.console import warn
from ..training.events import PASSES, Event
from . import shared_training
from .atomic import write_atomically
from .checkpoint_folder import delete
from .comparable import fingerprinted
from .event_log import EventLog, to_json
from .records import Environment, Reached, RunSpec, Status, read_environment, read_spec, read_status
from .row_log import RowLog
from .shared_training import SharedTraining
from .untrusted import refuse_links_out, refuse_other_kinds

FINAL = "samples/final.png"
"""The grid of samples from the end of a run."""


class RunFolder:
    """Paths and files of one run. Raises SpecError if the folder is not a run's."""

    def __init__(self, path: Path) -> None:
        try:
            if not os.path.lexists(path / "spec.yaml"):
                hint = "a run is <out>/<name>/<run-id>, for example runs/quickstart/…"
                raise SpecError(f"{path} is not a run: it has no spec.yaml", hint=hint)
            refuse_links_out(path)
            refuse_other_kinds(path)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link to itself
            raise SpecError(f"the run {path} cannot be read: {why(error)}") from None
        self.path = path
        self.log = EventLog(path / "metrics.jsonl")
        self.rows = RowLog(path / "log.csv", self.log)
        self.samples, self.plots = path / "samples", path / "plots"

    @classmethod
    def create(
        cls, out: Path, spec: Spec, share: Callable[[Path], SharedTraining] | None = None
    ) -> RunFolder:
        """Create a folder with the resolved spec and copies of its plugins; its id is the current time.

        `share`, called with the folder's path, gives the training that the run shares, if it has none of its
        own.
        """
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
                raise SpecError(
                    f"the run folder {path} cannot be created: {error.strerror}",
                    hint="choose another folder with --out",
                ) from None
        try:
            resolved = spec.resolved()
            resolved["plugins"] = [copy_plugin(plugin, path) for plugin in spec.plugins]
            if share is not None:  # before spec.yaml, which makes the folder a run
                share(path).write(path)
            write_atomically(path / "spec.yaml", to_yaml(resolved))
            for folder in ("samples", "plots", *(("checkpoints",) if share is None else ())):
                (path / folder).mkdir()
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise RunError(f"the run folder {path} cannot be written: {error.strerror}") from None
        return cls(path)

    @property
    def shared(self) -> SharedTraining | None:
        """The training that the run shares; None if it has one of its own.

        Raises SpecError if its training.json is damaged.
        """
        return shared_training.read(self.path)

    @property
    def training(self) -> RunFolder:
        """The run that trained the weights: this one, or the one whose training it shares.

        Raises SpecError if that cannot be found.
        """
        shared = self.shared
        return self if shared is None else RunFolder(shared.locate(self.path))

    @property
    def checkpoints(self) -> Path:
        """The folder with the checkpoints, which is that of `training`."""
        return self.training.path / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """The folder with the snapshots of the averages, which is that of `training`."""
        return self.training.path / "ema"

    def spec_data(self) -> RunSpec:
        """The resolved spec as it was written. Raises SpecError if it is damaged or not a run's spec."""
        return read_spec(self.path / "spec.yaml")

    def resolved(self) -> dict[str, object]:
        """The resolved spec with each plugin file replaced by its content hash, for comparing two runs."""
        return fingerprinted(self.spec_data(), self.path)

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
        """Write a JSON file of the folder, atomically."""
        write_atomically(self.path / name, to_json(content, indent=2).decode())

    def status(self) -> Status | None:
        """The content of status.json; None if there is no such file.

        A damaged file is reported and gives the status `unknown`: the run exists, but how it ended is not
        known.
        """
        file = self.path / "status.json"
        try:
            return read_status(file) if os.path.lexists(file) else None
        except SpecError as error:
            warn(str(error))
            return {"status": "unknown", "why": f"{file.name} is damaged"}

    @property
    def is_finished(self) -> bool:
        """Whether status.json says that the run finished."""
        status = self.status()
        return status is not None and status["status"] == "finished"

    def environment(self) -> Environment:
        """The content of environment.json; empty if it is missing, or damaged, which is reported."""
        file = self.path / "environment.json"
        try:
            return read_environment(file) if os.path.lexists(file) else {}
        except SpecError as error:
            warn(str(error))
            return {}

    def set_status(self, status: str, why: str = "", **reached: Unpack[Reached]) -> None:
        """Write status.json: `running`, `finished`, `interrupted` or `failed`, and why."""
        self.write_json("status.json", status_now(status, why, **reached))

    def add_event(self, event: Mapping[str, object]) -> None:
        """Append an event to metrics.jsonl."""
        self.log.add(event)

    def events(self, *kinds: str) -> Iterator[Event]:
        """The events of metrics.jsonl, all or those of some kinds; see `EventLog.read`."""
        return self.log.read(*kinds)

    def tidy(self) -> None:
        """Delete temporary files of killed processes."""
        for entry in self.path.glob(".*.*"):
            if re.fullmatch(r"\.[0-9]+", entry.suffix) and not entry.is_dir():
                entry.unlink()

    def cut_after(self, step: int, epoch: int) -> None:
        """Delete the events and snapshots that a run resumed from this step and epoch will write again.

        These are all events and snapshots after the step, `end` events, and the samples and metrics of an
        epoch that had not ended or has no row.
        """
        delete(self.snapshots, lambda other: other > step)
        ends = (
            event["epoch"]
            for event in self.events("epoch")
            if event["step"] <= step and event["epoch"] <= epoch
        )
        done = max(ends, default=0)

        def keep(event: Event) -> bool:
            if event["event"] == "end" or event.get("step", 0) > step:
                return False
            ends_epoch = event["event"] in ("samples", "per_t", "epoch") and PASSES not in event
            return not ends_epoch or (event["epoch"] <= done and event.get("path") != FINAL)

        self.log.cut(keep)

    def grids(self) -> dict[float, Path]:
        """Image files of the sample grids made during training, by epoch in ascending order.

        A grid made within an epoch has a fractional key: passes over the training images.
        """
        files: dict[float, Path] = {}
        files.update(self._numbered("epoch"))
        if within := dict(self._numbered("step")):
            events = ((event[PASSES], event["step"]) for event in self.events("samples") if PASSES in event)
            files |= {passes: within[step] for passes, step in events if step in within}
        return dict(sorted(files.items()))

    def _numbered(self, word: str) -> list[tuple[int, Path]]:
        """(number, path) of each image file `<word>-<number>.png`."""
        matches = (
            (re.fullmatch(rf"{word}-([0-9]{{1,18}})\.png", path.name), path)
            for path in self.samples.glob(f"{word}-*.png")
        )
        return [(int(match[1]), path) for match, path in matches if match]


def checkpoints_of(path: Path) -> Path:
    """The folder with the checkpoints of a run, or of a folder that is none but has `checkpoints/`."""
    shares = os.path.lexists(path / shared_training.FILE)
    return RunFolder(path).checkpoints if shares else path / "checkpoints"


def status_now(status: str, why: str = "", **reached: Unpack[Reached]) -> Status:
    """Content for status.json, with this process's id and the current time."""
    return {
        "status": status,
        "why": why,
        **reached,
        "pid": os.getpid(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def to_yaml(data: Mapping[str, object]) -> str:
    """YAML 1.2 that `yaml_source` reads back to equal data."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(dict(data), text)
    return text.getvalue().removeprefix("%YAML 1.2\n---\n")


def copy_plugin(plugin: str, run: Path) -> str:
    """Copy a plugin's file into the run's folder, under a new name if the content of an existing one differs.

    Returns its path relative to the folder. A plugin that is a module's name is returned unchanged.
    """
    if not plugin.endswith(".py"):
        return plugin
    (run / "plugins").mkdir(exist_ok=True)
    source = Path(plugin)
    target = run / "plugins" / source.name
    if target.exists() and file_hash(target) != file_hash(source):
        target = run / "plugins" / f"{source.stem}_{file_hash(source)[:8]}.py"
    if not target.exists():
        shutil.copyfile(source, target)
    return str(target.relative_to(run))
