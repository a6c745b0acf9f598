"""Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Literal

from ..components.registry import TRACKERS
from .base import Event, Session, Tracker, flattened, intervals, picture_file, picture_tag, require, scalars

PLACES = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
"""Where wandb stages artifacts and logs: the user's home, unless these say otherwise."""
TIMEOUT = 30
"""Seconds that a dead network costs at either end."""


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """Weights & Biases: the spec, curves, also over the noise level, sample grids, and the report as an artifact.

    It cannot take steps back: where a run goes back (`on_nan: rollback`), the curves keep what was first, until they are past it.
    `ddpmx track RUN --to wandb -s project=NEW` makes a clean copy.
    """

    project: str = "ddpmx"
    """The project in which the run appears."""
    entity: str | None = None
    """User or team; null: the default of your account."""
    group: str | None = None
    """Runs of one group are shown together."""
    tags: tuple[str, ...] = ()
    """Words to find the run by."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """Offline writes into the run's folder, for `wandb sync RUN/wandb/offline-run-*`; disabled writes nothing."""

    def check(self) -> None:
        require("wandb", "wandb")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> Session:
        return WandbSession(require("wandb", "wandb"), self, folder, config)


class WandbSession:
    """Curves of a step's loss over steps, those of epochs and metrics over images seen; every row has both."""

    def __init__(
        self, wandb: ModuleType, tracker: WeightsAndBiases, folder: Path, config: dict[str, object]
    ) -> None:
        self._wandb, self._folder = wandb, folder
        self._step = self._images = 0
        self._summary: dict[str, float] = {}
        self._places = {
            name: str(folder.resolve() / "wandb" / place)
            for name, place in PLACES.items()
            if name not in os.environ
        }
        os.environ.update(self._places)
        run_id = folder.resolve().name
        self._id = f"{str(config['name'])[:40]}-{run_id}"  # wandb allows 64 characters
        settings: dict[str, object] = {
            "console": "off",
            "silent": tracker.mode != "online",
            "init_timeout": TIMEOUT,
        }
        if "finish_timeout" in wandb.Settings.model_fields:
            settings["finish_timeout"] = TIMEOUT
        self._run = wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            group=tracker.group,
            tags=tracker.tags,
            mode=tracker.mode,
            dir=folder.resolve(),
            id=self._id,
            name=f"{config['name']} {run_id}",
            config=flattened(config),
            resume="allow",
            settings=wandb.Settings(**settings),
        )
        self._run.define_metric("images")
        for curves in ("epoch/*", "metrics/*"):
            self._run.define_metric(curves, step_metric="images")

    def log(self, event: Event) -> None:
        if event["event"] == "end":
            return
        numbers = scalars(event) | intervals(event)
        if event["step"] < self._step:  # wandb's steps never go back
            later = (
                event["event"] == "evaluate" and "passes" not in event
            )  # measured afterwards, of the best weights
            self._summary |= numbers if later else {}
            return
        self._summary |= intervals(event)
        self._step, self._images = event["step"], event.get("images", self._images)
        values: dict[str, object] = {**numbers}
        if event["event"] == "samples":
            picture = self._wandb.Image(
                str(picture_file(self._folder, event)), caption=Path(event["path"]).stem
            )
            values[picture_tag(event)] = picture
        if event["event"] == "per_t":
            values |= self._over_log_snr(event)
        if values:
            values |= {"images": self._images} | ({"epoch": event["epoch"]} if "epoch" in event else {})
            self._run.log(values, step=self._step)

    def _over_log_snr(self, event: Event) -> dict[str, object]:
        """A line chart of the loss and one of the bits, where there are some; runs lie over each other in wandb's workspace."""
        columns = ["log_snr", "t", "n", "loss", "share", "bits"]
        rows = [row for row in zip(*(event[column] for column in columns), strict=True) if row[0] is not None]
        charts = {}
        for key, title in (("loss", "Validation loss"), ("bits", "Bits a dimension")):
            having = [row for row in rows if row[columns.index(key)] is not None]
            if having:
                table = self._wandb.Table(columns=columns, data=having)
                charts[f"per_t/{key}"] = self._wandb.plot.line(
                    table, "log_snr", key, title=f"{title} by noise level"
                )
        return charts

    def close(self, status: str) -> None:
        self._run.log({}, commit=True)  # the last row would overrule the summary
        self._run.summary.update({**self._summary, "status": status})
        report = self._folder / "report.html"
        if report.exists():
            artifact = self._wandb.Artifact(f"report-{self._id}", type="report")
            artifact.add_file(str(report.resolve()))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code={"finished": 0, "interrupted": 130}.get(status, 1))
        for name in self._places:
            os.environ.pop(name, None)
