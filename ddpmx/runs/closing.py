"""The end of a run: its last event, its status, its report, and what the user is told."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Interrupted, RunError, SpecError
from ..plugins.faults import error_text, keep_trace, plugin_error
from ..process import out_of_memory
from ..storage import checkpoint_folder
from ..storage.records import Status
from .active_run import ActiveRun


def carry_out(active: ActiveRun, *parts: Callable[[ActiveRun], None]) -> None:
    """Do the parts of a run's work, and close the run however that ends.

    Raises RunError if the run fails, and Interrupted if the user stops it.
    """
    try:
        with out_of_memory.reported():
            for part in parts:
                part(active)
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(end(active, "interrupted", "stopped on request")) from None
    except (Exception, SystemExit) as error:
        cause = plugin_error(error) or error
        if isinstance(cause, RunError | SpecError | OSError):
            raise failed(active, cause) from error
        if active.world.is_main:  # a bug in ddpmx, which needs its traceback
            active.folder.set_status("failed", repr(error), step=active.state.step)
        raise
    try:
        close(active, "finished", active.problem_summary)
    except OSError as error:
        raise RunError(f"{error}\n{what_is_saved(active, 'failed')}") from error


def end(active: ActiveRun, status: str, why: str) -> str:
    """Close a run that stops early; returns a message on what is saved and what could not be written."""
    message = what_is_saved(active, status)
    if not active.folder.path.exists():
        active.trackers.close(status)
        return message
    try:
        close(active, status, why)
    except OSError as error:  # for example a full disk
        message += f" The run's status could not be written: {error}"
    except Exception as error:  # what failed the run may fail again while the report plots it
        message += f" The run's report could not be written: {error_text(error)}"
    return message


def close(active: ActiveRun, status: str, why: str = "") -> None:
    """Record how the run ended in its folder and trackers, and write the report unless it exists already."""
    if not active.world.is_main:
        return
    seconds = round(time.perf_counter() - active.started, 1)
    try:
        active.emit(
            {"event": "end", "status": status, "why": why, "step": active.state.step, "seconds": seconds}
        )
        active.folder.set_status(
            status, why, epoch=active.state.epoch, step=active.state.step, seconds=seconds
        )
        if status != "finished":
            report(active)
    finally:
        active.trackers.close(status)


def failed(active: ActiveRun, error: Exception) -> RunError:
    """Close a run that failed; returns an error that adds what is saved and where a plugin's traceback is."""
    message = end(active, "failed", str(error))
    if isinstance(error, SpecError) and error.trace and active.world.is_main and active.folder.path.exists():
        message += f"\n{keep_trace(error.trace, active.folder.path)}"
    return RunError(f"{error}\n{message}")


def report(active: ActiveRun, status: Status | None = None) -> None:
    """Write the run's figures and report.html; `status` overrides the one in status.json."""
    from ..pages.plots import write_learned  # imported late: matplotlib takes a second to load
    from ..pages.report import write_report

    active.write_plots()
    write_learned(active.folder.plots, active.experiment.table, active.trained.weighting)
    write_report(active.folder.path, status)


def what_is_saved(active: ActiveRun, status: str) -> str:
    """A message that names the last checkpoint and says how to resume the run."""
    path, step = active.folder.path, active.state.step
    if not path.exists():
        gone = f"{path} no longer exists: it was deleted or moved during the run"
        return f"{status} at step {step}; {gone}. If it was moved, resume it with --resume --run PATH."
    if active.folder.shared is not None:
        return f"{status} while it was measured. The same command measures it again."
    last = checkpoint_folder.find(active.folder.checkpoints, "last")
    saved = (
        "no checkpoint was saved yet"
        if last is None
        else f"saved: {last.with_name('last')} (step {last.name})"
    )
    return f"{status} at step {step}; {saved}. To resume, run the same command with --resume."
