"""The start of a run: its state is built or restored, and its folder and trackers are made ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .. import ops
from ..ops import library
from ..plugins.loading import file_hash
from ..process.stop import StopSignal
from ..storage import checkpoint
from ..storage.atomic import write_atomically
from ..storage.folder import RunFolder, to_yaml
from ..storage.provenance import DataRecord, changed_at, difference, earlier_data
from ..storage.records import Environment
from ..terminal.console import Bar
from ..trackers import Trackers
from ..training.experiment import Experiment
from ..training.state import prepare
from ..world import World
from . import changed_plugins, environment
from .active_run import ActiveRun


def start(experiment: Experiment, folder: RunFolder, world: World, stop: StopSignal, bar: Bar) -> ActiveRun:
    """Build the run's state, restore the last checkpoint if there is one, and write the run's first files."""
    spec, device = experiment.spec, experiment.device
    active = ActiveRun(experiment, folder, Trackers(), world, stop, bar, prepare(experiment))
    present = DataRecord.from_data(experiment.data)
    recorded = folder.environment() if world.is_main else Environment()
    changed = difference(folder, present) if world.is_main else ""
    active.data_since = int(world.text(str(changed_at(recorded)), device))
    active.restore()
    if world.any(bool(changed), device):
        active.forget_losses()
    if not world.is_main:
        return active
    before = [
        {"until_step": min(step, active.state.step), **record.to_json()}
        for step, record in earlier_data(recorded)
    ]
    if changed:
        bar.say(f"warning: {changed}; the search for the best weights restarts at step {active.state.step}")
        previous = DataRecord.parse(recorded.get("data"))
        before += [{"until_step": active.state.step, **previous.to_json()}] if previous else []
    resumed = folder.status() is not None
    plugins_before: list[object] = []
    if resumed:
        plugins, plugins_before = changed_plugins.renew(spec, folder, active.state.step)
        folder.tidy()
        active.rewind_log()
        if note := active.rate_note():
            bar.say(f"note: {note}")
        resolved = {**spec.resolved(), "plugins": plugins}
        write_atomically(folder.path / "spec.yaml", to_yaml(resolved))
    changes = {
        **({"data_before": before} if before else {}),
        **({changed_plugins.RECORD: plugins_before} if plugins_before else {}),
    }
    write_environment(folder, experiment, present, changes)
    folder.set_status("running", step=active.state.step)
    active.trackers = Trackers.open(spec.track, folder.path, spec.resolved(), resumed)
    logged = sum(event["action"] == "rollback" for event in folder.events("diverged"))
    for event in active.state.rollbacks[logged:]:  # a kill came before they were logged
        active.emit(event)
    return active


def load_initial_weights(experiment: Experiment) -> None:
    """Load the weights that `train.init_from` names, if it does. Raises SpecError if they do not fit."""
    spec = experiment.spec
    if spec.train.init_from is not None:
        with spec.blame("train.init_from"):
            weights = checkpoint.find_weights(Path(spec.train.init_from))
            checkpoint.load_weights(experiment.network, weights)


def write_environment(
    folder: RunFolder, experiment: Experiment, present: DataRecord, changes: Mapping[str, object]
) -> None:
    """Write environment.json: what the run is computed with, and `changes` of that since it started."""
    spec, device = experiment.spec, experiment.device
    folder.write_json(
        "environment.json",
        {
            **environment.facts(device, ops.active(device)),
            "cpu_level": library.cpu_level() if ops.active(device) == "cpp" else None,
            "data": present.to_json(),
            "parameters": experiment.parameters,
            "plugins": {plugin: file_hash(Path(plugin)) for plugin in spec.plugins if plugin.endswith(".py")},
            **changes,
        },
    )
