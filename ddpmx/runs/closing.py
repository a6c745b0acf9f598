"""How a run ends: what its folder, its trackers and the user are told of it."""

from __future__ import annotations

import time

from ..errors import RunError, SpecError
from ..plugins.faults import error_text, keep_trace
from ..storage import checkpoint_folder
from ..storage.records import Status
from .session import Session


def end(session: Session, status: str, why: str) -> str:
    """Close a run that does not finish; returns what of it is saved, and what could not be written."""
    what = what_is_saved(session, status)
    if not session.folder.path.exists():
        session.trackers.close(status)
        return what
    try:
        close(session, status, why)
    except OSError as error:  # the disk is full, say
        what += f" Its status could not be written: {error}"
    except Exception as error:  # what failed fails again where it is drawn
        what += f" Its report could not be written: {error_text(error)}"
    return what


def close(session: Session, status: str, why: str = "") -> None:
    """Say how it ended, in the folder and to the trackers, and write the report, which a finished run has."""
    if not session.world.is_main:
        return
    seconds = round(time.perf_counter() - session.started, 1)
    try:
        session.emit(
            {"event": "end", "status": status, "why": why, "step": session.state.step, "seconds": seconds}
        )
        session.folder.set_status(
            status, why, epoch=session.state.epoch, step=session.state.step, seconds=seconds
        )
        if status != "finished":
            report(session)
    finally:
        session.trackers.close(status)


def failed(session: Session, error: Exception) -> RunError:
    """Closes the run; returns the error that says what is saved, and where a plugin's traceback is."""
    what = end(session, "failed", str(error))
    if (
        isinstance(error, SpecError)
        and error.trace
        and session.world.is_main
        and session.folder.path.exists()
    ):
        what += f"\n{keep_trace(error.trace, session.folder.path)}"
    return RunError(f"{error}\n{what}")


def report(session: Session, status: Status | None = None) -> None:
    from ..pages.plots import write_learned  # here, since loading matplotlib takes a second of every start
    from ..pages.report import write_report

    session.draw_plots()
    write_learned(session.folder.plots, session.experiment.table, session.trained.weighting)
    write_report(session.folder.path, status)


def what_is_saved(session: Session, status: str) -> str:
    path, step = session.folder.path, session.state.step
    if not path.exists():
        gone = f"{path} is not there any more: it was deleted or moved during the run"
        return f"{status} at step {step}; {gone}. --resume --run PATH resumes a moved one."
    last = checkpoint_folder.find(session.folder.checkpoints, "last")
    saved = (
        "no checkpoint was written yet"
        if last is None
        else f"saved: {last.with_name('last')} (step {last.name})"
    )
    return f"{status} at step {step}; {saved}. The same command with --resume goes on from there."
