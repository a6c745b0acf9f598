"""The errors that ddpmx raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .text import shortened

MOST_FINDINGS = 20
"""Findings that one error prints; of the others it says how many there are."""
MOST_CHARACTERS = 1000
"""Characters of a finding's message, and of its hint."""


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
    written, `hint` the nearest valid spelling or the next thing to do. One error may hold several findings: these
    attributes are then those of the first, and `others` has the rest. `trace` is the traceback of what a plugin raised.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        mark: Mark | None = None,
        hint: str = "",
        others: Sequence[SpecError] = (),
        trace: str = "",
    ) -> None:
        super().__init__(message)
        self.trace = trace
        self.message, self.field, self.mark, self.hint, self.others = (
            message,
            field,
            mark,
            hint,
            tuple(others),
        )

    @classmethod
    def of(cls, findings: Iterable[SpecError]) -> SpecError:
        """One error that holds all of these findings, at least one; a repeated one counts once."""
        first, *others = {str(finding): finding for error in findings for finding in error.findings}.values()
        return cls(
            first.message,
            field=first.field,
            mark=first.mark,
            hint=first.hint,
            others=others,
            trace=first.trace,
        )

    @property
    def findings(self) -> tuple[SpecError, ...]:
        """Each finding as an error of its own."""
        return (
            SpecError(self.message, field=self.field, mark=self.mark, hint=self.hint, trace=self.trace),
            *self.others,
        )

    def each(self, change: Callable[[SpecError], SpecError]) -> SpecError:
        """The same error with `change` applied to each of its findings."""
        return SpecError.of(map(change, self.findings))

    def at(self, field: str, mark: Mark | None) -> SpecError:
        """The same error, placed in a spec; what it already knows of its place is kept."""
        return self.each(lambda finding: finding._placed(field, mark))

    def _placed(self, field: str, mark: Mark | None) -> SpecError:
        placed = not field or not self.field or f"{self.field}.".startswith(f"{field}.")
        inner = self.field if placed else f"{field}.{self.field}"
        return SpecError(
            self.message, field=inner or field, mark=self.mark or mark, hint=self.hint, trace=self.trace
        )

    def lines(self) -> list[str]:
        """A line for each finding, the first MOST_FINDINGS of them, with what they repeat of the input shortened."""
        shown = [finding._line() for finding in self.findings[:MOST_FINDINGS]]
        more = 1 + len(self.others) - len(shown)
        return [*shown, f"and {more:,} more"] if more else shown

    def _line(self) -> str:
        parts = [shortened(str(self.mark), MOST_CHARACTERS)] if self.mark else []
        parts += [shortened(self.field)] if self.field else []
        text = ": ".join([*parts, shortened(self.message, MOST_CHARACTERS)])
        return f"{text} ({shortened(self.hint, MOST_CHARACTERS)})" if self.hint else text

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Findings:
    """Collects the errors of checks that do not depend on each other, so that all of them are reported at once."""

    def __init__(self) -> None:
        self._found: list[SpecError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a SpecError that is raised inside, and go on behind the block."""
        try:
            yield
        except SpecError as error:
            self._found.append(error)

    def report(self) -> None:
        """Raise what was collected, if anything, as one SpecError."""
        if self._found:
            raise SpecError.of(self._found)


class PluginError(SpecError):
    """A plugin failed, or returned what it should not."""


class RunError(DdpmxError):
    """The run failed (exit code 1): it diverged, the disk is full, a checkpoint cannot be read."""


class Interrupted(DdpmxError):
    """The user stopped the run (exit code 130); the last checkpoint is saved and named."""


class ReaderGone(DdpmxError):
    """Standard output is a pipe that nobody reads any more, as after `ddpmx list | head -1` (exit code 141, in silence)."""


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid spelling that is close to `name`, if there is one."""
    import difflib  # not at every start of the command line

    close = difflib.get_close_matches(name[:MOST_CHARACTERS], sorted(valid), n=1, cutoff=0.6)
    return close[0] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the closest valid spelling, or all of them when none is close."""
    names = sorted(valid)
    close = closest(name, names)
    if close:
        return f"did you mean '{close}'?"
    return "valid: " + ", ".join(names) if names else ""
