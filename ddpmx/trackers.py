"""Trackers: other places that a run's events go to. `metrics.jsonl` in the run's folder is the truth; these mirror it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import SpecError
from .registry import TRACKERS, Component

Event = Mapping[str, Any]


class Session(Protocol):
    """A tracker that is following a run."""

    def log(self, event: Event) -> None:
        """One event of metrics.jsonl; the files it names are relative to the run's folder."""

    def close(self, status: str) -> None:
        """The run ended: `finished`, `interrupted` or `failed`. Its report is written."""


class Tracker(Component):
    """Base of all trackers: override `open`."""

    def check(self) -> None:
        """Raises SpecError when this tracker cannot work here, for want of its package; asked before a run begins."""

    def open(self, folder: Path, config: dict[str, Any], resume: bool) -> Session:
        """Follow the run in `folder`, whose resolved spec is `config`; `resume`: it has been followed before."""
        raise NotImplementedError


class Trackers:
    """The sessions of a run. What one of them raises never stops the run, nor the others."""

    def __init__(self, sessions: Mapping[str, Session] | None = None) -> None:
        self._sessions = dict(sessions or {})
        self._warned: set[str] = set()

    @classmethod
    def open(cls, trackers: Iterable[Tracker], folder: Path, config: dict[str, Any], resume: bool) -> Trackers:
        """Open them all. SpecErrors, which are the user's to mend, come through."""
        opened = cls()
        for index, tracker in enumerate(trackers):
            name = tracker.component_name
            name = f"{name} ({index})" if name in opened._sessions else name
            try:
                opened._sessions[name] = tracker.open(folder, config, resume)
            except SpecError:
                raise
            except Exception as error:  # whatever a tracker's library raises: hours of training are worth more than its copy
                opened._warn(name, error)
        return opened

    def log(self, event: Event) -> None:
        for name, session in self._sessions.items():
            try:
                session.log(event)
            except Exception as error:  # as in `open`
                self._warn(name, error)

    def close(self, status: str) -> None:
        for name, session in self._sessions.items():
            try:
                session.close(status)
            except Exception as error:  # as in `open`
                self._warn(name, error)

    def _warn(self, name: str, error: Exception) -> None:
        """Once a tracker, so that a network that is down does not fill the terminal."""
        if name not in self._warned:
            self._warned.add(name)
            text = f"warning: the tracker {name} failed ({type(error).__name__}: {error}); the run goes on, metrics.jsonl has everything"
            print(text, file=sys.stderr)


def scalars(event: Event) -> dict[str, float]:
    """The numbers of an event by the name that trackers show: `train/loss`, `epoch/val_loss`, `metrics/fd_cnn`."""
    group = {"step": "train"}.get(event["event"], event["event"])
    numbers = {key: value for key, value in event.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    found = {f"{group}/{key}": float(value) for key, value in numbers.items() if key not in ("epoch", "step", "images", "samples")}
    return found | {f"metrics/{name}": float(value) for name, value in event.get("metrics", {}).items()}


def _picture_tag(event: Event) -> str:
    """The epochs' grids are one series, which a slider goes through."""
    return "samples/final" if Path(event["path"]).stem == "final" else "samples/epochs"


def _require(package: str, extra: str) -> ModuleType:
    """The package, or a SpecError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        hint = f"pip install 'ddpmx[{extra}]'"
        raise SpecError(f"the tracker '{extra}' needs a package that is not installed: {error}", field="track", hint=hint) from None


@TRACKERS.register("jsonl")
class JSONLines(Tracker):
    """Appends every event, with the run's name and id, to one file that many runs may share."""

    path: str
    """The file, relative to this spec; made if it is not there."""

    def check(self) -> None:
        if Path(self.path).is_dir():
            raise SpecError(f"should be a file, and {self.path} is a folder", field="path")

    def open(self, folder: Path, config: dict[str, Any], resume: bool) -> Session:
        self.check()
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _JSONLinesSession(path, {"run": config["name"], "id": folder.resolve().name})


class _JSONLinesSession:
    def __init__(self, path: Path, run: dict[str, str]) -> None:
        self._run = run
        self._file = path.open("ab", buffering=0)

    def log(self, event: Event) -> None:
        # one write a line: on a local disk, lines of runs that share the file do not mix
        self._file.write((json.dumps({**self._run, **event}) + "\n").encode())

    def close(self, status: str) -> None:
        self._file.close()


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """Weights & Biases: curves, sample grids, and the report as an artifact."""

    project: str = "ddpmx"
    """The project in which the run appears."""
    entity: str | None = None
    """User or team; null: the default of your account."""
    group: str | None = None
    """Runs of one group are shown together."""
    tags: tuple[str, ...] = ()
    """Words to find the run by."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """Offline writes into the run's folder, for `wandb sync`; disabled writes nothing."""

    def check(self) -> None:
        _require("wandb", "wandb")

    def open(self, folder: Path, config: dict[str, Any], resume: bool) -> Session:
        return _WandbSession(_require("wandb", "wandb"), self, folder, config)


class _WandbSession:
    def __init__(self, wandb: ModuleType, tracker: WeightsAndBiases, folder: Path, config: dict[str, Any]) -> None:
        self._wandb, self._folder = wandb, folder
        run_id = folder.resolve().name
        self._id = f"{config['name'][:40]}-{run_id}"  # wandb allows 64 characters
        self._run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            group=tracker.group,
            tags=tracker.tags,
            mode=tracker.mode,
            dir=folder,
            id=self._id,
            name=f"{config['name']} {run_id}",
            config=config,
            resume="allow",
            settings=wandb.Settings(console="off", silent=tracker.mode != "online", init_timeout=30),  # seconds a dead network costs
        )

    def log(self, event: Event) -> None:
        values: dict[str, Any] = dict(scalars(event))
        if event["event"] == "samples":
            picture = self._wandb.Image(str(self._folder / event["path"]), caption=Path(event["path"]).stem)
            values[_picture_tag(event)] = picture
        if not values or event["event"] == "end":
            return
        # epoch and images are there to be chosen as x axes
        values |= {key: event[key] for key in ("epoch", "images") if key in event}
        self._run.log(values, step=event["step"])

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        report = self._folder / "report.html"
        if report.exists():
            artifact = self._wandb.Artifact(f"report-{self._id}", type="report")
            artifact.add_file(str(report))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code={"finished": 0, "interrupted": 130}.get(status, 1))


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """TensorBoard: curves and sample grids in the run's folder; `tensorboard --logdir runs` shows them."""

    def check(self) -> None:
        _require("torch.utils.tensorboard", "tensorboard")

    def open(self, folder: Path, config: dict[str, Any], resume: bool) -> Session:
        return _TensorBoardSession(_require("torch.utils.tensorboard", "tensorboard"), folder, config, resume)


class _TensorBoardSession:
    def __init__(self, tensorboard: ModuleType, folder: Path, config: dict[str, Any], resume: bool) -> None:
        self._tensorboard, self._folder, self._config, self._resume = tensorboard, folder, config, resume
        self._writer: Any = None

    def log(self, event: Event) -> None:
        if event["event"] == "end":
            return
        if self._writer is None:  # the first step is known only now: what a resumed run writes again replaces the old
            purge = event["step"] if self._resume else None
            self._writer = self._tensorboard.SummaryWriter(str(self._folder / "tensorboard"), purge_step=purge)
            self._writer.add_text("spec", f"```\n{json.dumps(self._config, indent=2)}\n```", event["step"])
        for name, value in scalars(event).items():
            self._writer.add_scalar(name, value, event["step"])
        if event["event"] == "samples":
            self._writer.add_image(_picture_tag(event), _pixels(self._folder / event["path"]), event["step"], dataformats="HWC")

    def close(self, status: str) -> None:
        if self._writer is not None:
            self._writer.close()


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A PNG as uint8 [height, width, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
