"""The errors that ddpmx raises, the lowest module of all.

Imports point only downwards::

    cli -> sweep, compare, run, session, dry_run, draw, evaluate, report, show, doctor, catalogue, exchange, replay
        -> train, validation, objective, sampling, editing, generate, classes, experiment, coefficients, checkpoint,
           run_folder, resume, preflight, plots, timestep_plots, spec_file, trust, testing
        -> schedules, times, predictions, weightings, samplers, models, data, metrics, trackers, optimizers, ema, images, pictures,
           guidance, variance, effective, ops
        -> registry, spec, yaml_source, plugins, rows, page, drawing, svg, environment, console, progress, stop, world, estimate,
           manifest, checkpoint_folder, divergence, allocator
        -> outputs, terminal
        -> files
        -> text, out_of_memory, interrupts
        -> errors

`tests/test_layering.py` reads the imports and says so when one does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class DdpmxError(Exception):
    """Base of every error that ddpmx raises on purpose."""


@dataclass(frozen=True)
class Mark:
    """Where a value of a spec was written: a file and a line, or a command-line override (line 0)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class SpecError(DdpmxError):
    """The user's input is wrong (exit code 2).

    `message` says what was expected, `field` is the dotted path in the spec (`train.lr`), `mark` where it was
    written, `hint` the nearest valid spelling or the next thing to do.
    """

    def __init__(self, message: str, *, field: str = "", mark: Mark | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.field, self.mark, self.hint = message, field, mark, hint

    def at(self, field: str, mark: Mark | None) -> SpecError:
        """The same error, placed in a spec; what it already knows of its place is kept."""
        inner = self.field if not self.field or self.field.startswith(field) else f"{field}.{self.field}"
        return SpecError(self.message, field=inner or field, mark=self.mark or mark, hint=self.hint)

    def __str__(self) -> str:
        parts = [str(self.mark)] if self.mark else []
        parts += [self.field] if self.field else []
        text = ": ".join([*parts, self.message])
        return f"{text} ({self.hint})" if self.hint else text


class RunError(DdpmxError):
    """The run failed (exit code 1): it diverged, the disk is full, a checkpoint cannot be read."""


class Interrupted(DdpmxError):
    """The user stopped the run (exit code 130); the last checkpoint is saved and named."""


class ReaderGone(DdpmxError):
    """Standard output is a pipe that nobody reads any more, as after `ddpmx list | head -1` (exit code 141, in silence)."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the closest valid spelling, or all of them when none is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + ", ".join(names) if names else ""
