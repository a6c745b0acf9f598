"""The `track` command: sends the events of a run's metrics.jsonl to a tracker that missed them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pydantic import ValidationError

from ..components.in_words import spec_error
from ..components.registry import TRACKERS
from ..errors import Findings, PluginError, RunError, SpecError
from ..plugins.faults import plugin_error
from ..spec.loading import load_run, override
from ..spec.source import Source
from ..storage.folder import RunFolder
from ..storage.measurement import Measurements
from ..storage.records import RunSpec
from ..trackers import Tracker, sample_grid_file


def replay(run: Path, name: str, options: tuple[str, ...]) -> int:
    """Send all events of a run to the tracker `name`, in order; returns how many.

    The tracker's parameters are those in the run's spec, if it names the tracker, overridden by `options`
    such as `project=x`. Events that the tracker already has are not duplicated, as far as its kind allows.
    Raises SpecError for wrong input, and RunError if the tracker fails.
    """
    folder = RunFolder(run)
    spec = load_run(run)  # its plugins may register the tracker
    component = TRACKERS.get(name)
    parameters = next((tracker.spec() for tracker in spec.track if isinstance(tracker, component)), {})
    parameters.pop("name", None)
    source, findings = Source(parameters), Findings()
    for text in options:
        with findings.collect():
            source = source.merge(override(text))
    findings.report()
    try:
        tracker: Tracker = component.model_validate(source.data)
    except ValidationError as error:
        raise spec_error(error).each(lambda finding: _at_option(finding, source)) from None
    tracker.check()
    for event in folder.events("samples"):
        sample_grid_file(run, event)  # an untrusted run must not make the tracker upload files from elsewhere
    if next(folder.events(), None) is None:
        raise SpecError(f"{run} has no events to send: its metrics.jsonl is empty or missing")
    measurements = Measurements(cast(RunSpec, spec.resolved()), folder.environment())
    status, count = folder.status(), 0
    try:
        session = tracker.open(run, spec.resolved(), True)
        for event in folder.events():
            if "step" in event:  # trackers order events by their step
                session.log(measurements.for_trackers(event))
                count += 1
        session.close(
            status["status"] if status and status["status"] in ("finished", "failed") else "interrupted"
        )
    except (Exception, SystemExit) as error:  # a tracker's library may raise anything
        fault = error if isinstance(error, PluginError) else plugin_error(error)
        if fault is not None:
            raise RunError(str(fault)) from error
        raise RunError(f"the tracker {name} failed: {type(error).__name__}: {error}") from error
    return count


def _at_option(finding: SpecError, source: Source) -> SpecError:
    """The finding, marked with the -s option that set the value, or with a hint at the option that would."""
    mark = source.mark(tuple(finding.field.split(".")))
    hint = finding.hint or ("" if mark else f"set it with -s {finding.field}=…")
    return SpecError(finding.message, field=finding.field, mark=mark, hint=hint)
