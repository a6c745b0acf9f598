"""The `track` command: a run's metrics.jsonl, once more, for a tracker that missed it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ..components.in_words import spec_error
from ..components.registry import TRACKERS
from ..errors import Findings, PluginError, RunError, SpecError
from ..plugins.faults import plugin_error
from ..spec.loading import load_run, override
from ..spec.source import Source
from ..storage.folder import RunFolder
from ..trackers import Tracker, sample_grid_file


def replay(run: Path, name: str, options: tuple[str, ...]) -> int:
    """Hand all events of a run to the tracker `name`, as if the run were made again; returns how many.

    Its parameters are those of the run's spec, if that names the tracker, changed by `options` (`project=x`). What the
    tracker has already is not doubled, as far as its kind allows. Raises SpecError, and RunError where the tracker fails.
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
        raise spec_error(error).each(lambda found: _of_option(found, source)) from None
    tracker.check()
    for event in folder.events("samples"):
        sample_grid_file(run, event)  # the run may be a stranger's, and the tracker uploads it
    if next(folder.events(), None) is None:
        raise SpecError(f"{run} has no events to replay: its metrics.jsonl is empty or not there")
    status = folder.status()
    count = 0
    try:
        session = tracker.open(run, spec.resolved(), True)
        for event in folder.events():
            if "step" in event:  # trackers place all by its step
                session.log(event)
                count += 1
        session.close(
            status["status"] if status and status["status"] in ("finished", "failed") else "interrupted"
        )
    except (Exception, SystemExit) as error:  # whatever a tracker's library raises
        fault = error if isinstance(error, PluginError) else plugin_error(error)
        if fault is not None:
            raise RunError(str(fault)) from error
        raise RunError(f"the tracker {name} failed: {type(error).__name__}: {error}") from error
    return count


def _of_option(found: SpecError, source: Source) -> SpecError:
    """The finding at the option that gave the value, or with the option that would give it."""
    mark = source.mark(tuple(found.field.split(".")))
    hint = found.hint or ("" if mark else f"-s {found.field}=… gives it")
    return SpecError(found.message, field=found.field, mark=mark, hint=hint)
