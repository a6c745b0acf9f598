"""The tracker for Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Literal

from ..components.registry import TRACKERS
from .base import (
    CHANGES,
    Event,
    Tracker,
    TrackerSession,
    flattened,
    intervals,
    require,
    sample_grid_file,
    sample_grid_tag,
    scalars,
)

STAGING = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
"""Variables for the folders where wandb stages artifacts and logs; by default in the user's home."""
TIMEOUT = 30
"""Seconds to wait for the network at the start and at the end of a run."""


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """Weights & Biases: the spec, curves, also over the noise level, sample grids, and the report.

    It cannot replace steps. After a rollback (`on_nan: rollback`), the curves keep the old values of the
    repeated steps. `ddpmx track RUN --to wandb -s project=NEW` makes a clean copy.
    """

    project: str = "ddpmx"
    """The project in which the run appears."""
    entity: str | None = None
    """User or team; null: your account's default."""
    group: str | None = None
    """Group in which the run is shown with others."""
    tags: tuple[str, ...] = ()
    """Tags of the run, for searching."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """offline: write to the run's folder, for `wandb sync RUN/wandb/offline-run-*`; disabled: do nothing."""

    def check(self) -> None:
        require("wandb", "wandb")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> TrackerSession:
        return WandbSession(require("wandb", "wandb"), self, folder, config)


class WandbSession:
    """One run at wandb. Training losses are plotted over steps; epochs and metrics, over images seen."""

    def __init__(
        self, wandb: ModuleType, tracker: WeightsAndBiases, folder: Path, config: dict[str, object]
    ) -> None:
        self._wandb, self._folder = wandb, folder
        self._step = self._images = 0
        self._summary: dict[str, float] = {}
        self._own_variables = {
            name: str(folder.resolve() / "wandb" / subfolder)
            for name, subfolder in STAGING.items()
            if name not in os.environ
        }
        os.environ.update(self._own_variables)
        run_id = folder.resolve().name
        self._id = f"{str(config['name'])[:40]}-{run_id}"  # wandb allows ids of at most 64 characters
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
        if event.get(CHANGES):  # no points of the run's own curves
            self._summary |= numbers
            return
        if event["step"] < self._step:  # wandb accepts no earlier steps
            # `ddpmx evaluate` measures the best weights after training: a result, not part of a curve.
            evaluated_later = event["event"] == "evaluate" and "passes" not in event
            self._summary |= numbers if evaluated_later else {}
            return
        self._summary |= intervals(event)
        self._step, self._images = event["step"], event.get("images", self._images)
        values: dict[str, object] = {**numbers}
        if event["event"] == "samples":
            values[sample_grid_tag(event)] = self._wandb.Image(
                str(sample_grid_file(self._folder, event)), caption=Path(event["path"]).stem
            )
        if event["event"] == "per_t":
            values |= self._over_log_snr(event)
        if values:
            values |= {"images": self._images} | ({"epoch": event["epoch"]} if "epoch" in event else {})
            self._run.log(values, step=self._step)

    def _over_log_snr(self, event: Event) -> dict[str, object]:
        """Line charts of the loss and of the bits, if any, over log-SNR; wandb overlays several runs."""
        columns = ["log_snr", "t", "n", "loss", "share", "bits"]
        rows = [row for row in zip(*(event[column] for column in columns), strict=True) if row[0] is not None]
        charts = {}
        for key, title in (("loss", "Validation loss"), ("bits", "Bits per dimension")):
            known = [row for row in rows if row[columns.index(key)] is not None]
            if known:
                table = self._wandb.Table(columns=columns, data=known)
                charts[f"per_t/{key}"] = self._wandb.plot.line(
                    table, "log_snr", key, title=f"{title} by noise level"
                )
        return charts

    def close(self, status: str) -> None:
        self._run.log(
            {}, commit=True
        )  # write the last row now: written later, it would overwrite the summary
        self._run.summary.update({**self._summary, "status": status})
        report = self._folder / "report.html"
        if report.exists():
            artifact = self._wandb.Artifact(f"report-{self._id}", type="report")
            artifact.add_file(str(report.resolve()))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code={"finished": 0, "interrupted": 130}.get(status, 1))
        for name in self._own_variables:
            os.environ.pop(name, None)
