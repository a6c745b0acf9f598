"""What a run does with its weights when the training has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from ..errors import SpecError
from ..spec.source import value_at
from ..storage import checkpoint
from ..storage.measurement import Measurements
from ..storage.records import RunSpec
from .active_run import ActiveRun
from .grid import Grid
from .measurements import after_training
from .milestones import format_scores
from .opening import choose_weights


def final_weights(active: ActiveRun) -> Path:
    """The file with the spec's `weights`; that of the best checkpoint, with a warning, if there is none."""
    run = active.folder.path
    try:
        return choose_weights(run, active.experiment.spec.weights)[0]
    except SpecError as error:
        active.report_problem(f"weights: {error}; the samples are those of the best checkpoint")
        return checkpoint.weights_file(run, "best")


def measure_grid(active: ActiveRun) -> None:
    """Measure `weights`, if they are not those that the training has measured, and then `evaluate.over`."""
    spec = active.experiment.spec
    grid, specs = Grid(active.folder, active.experiment, active.averaged, active.world), after_training(spec)
    measurements = Measurements(cast(RunSpec, spec.resolved()), active.folder.environment())
    for done, measured in enumerate(specs):
        active.progress("measurements", done, len(specs))
        try:
            for event in grid.measure([measured], active.report_problem, active.progress):
                active.trackers.log(measurements.for_trackers(event))
                resolved = measured.resolved()
                values = {field: value_at(resolved, tuple(field.split("."))) for field in spec.evaluate.over}
                settings = [f"{field}={json.dumps(value)}" for field, value in values.items()]
                active.bar.say(f"measured {' '.join(settings) or 'weights'}{format_scores(event['metrics'])}")
        except SpecError as error:
            active.report_problem(str(error))
