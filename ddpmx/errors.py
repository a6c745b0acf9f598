"""The errors that ddpmx raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .text import shortened

MOST_FINDINGS = 20
"""Findings that one error prints; it only counts the others."""
MOST_CHARACTERS = 1000
"""Greatest length of a finding's message, and of its hint."""


class DdpmxError(Exception):
    """Base class of every error that ddpmx raises on purpose."""


@dataclass(frozen=True)
class Mark:
    """The position of a value in a spec: a line of a file, or a command-line option."""

    file: str
    """The file, or the option and its argument."""
    line: int = 0
    """The line, counted from 1; 0 for an option."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class SpecError(DdpmxError):
    """The user's input is wrong (exit code 2).

    `message` says what was expected, `field` is the dotted path in the spec (`train.lr`), `mark` is where it
    was written, and `hint` is the nearest valid spelling or what to do. `trace` is a plugin's traceback, if
    any. If an error has several findings, these attributes are those of the first, and `others` has the rest.
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
        """One error with all of these findings, at least one. Duplicates are dropped."""
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
        """The findings, each as an error of its own."""
        return (
            SpecError(self.message, field=self.field, mark=self.mark, hint=self.hint, trace=self.trace),
            *self.others,
        )

    def each(self, change: Callable[[SpecError], SpecError]) -> SpecError:
        """The same error with `change` applied to each of its findings."""
        return SpecError.of(map(change, self.findings))

    def at(self, field: str, mark: Mark | None) -> SpecError:
        """The error with its findings placed inside a field; a finding that has a mark keeps it."""
        return self.each(lambda finding: finding._placed(field, mark))

    def _placed(self, field: str, mark: Mark | None) -> SpecError:
        placed = not field or not self.field or f"{self.field}.".startswith(f"{field}.")
        inner = self.field if placed else f"{field}.{self.field}"
        return SpecError(
            self.message, field=inner or field, mark=self.mark or mark, hint=self.hint, trace=self.trace
        )

    def lines(self) -> list[str]:
        """A line for each of the first MOST_FINDINGS findings, shortened, and the number of the others."""
        lines = [finding._line() for finding in self.findings[:MOST_FINDINGS]]
        more = 1 + len(self.others) - len(lines)
        return [*lines, f"and {more:,} more"] if more else lines

    def _line(self) -> str:
        parts = [shortened(str(self.mark), MOST_CHARACTERS)] if self.mark else []
        parts += [shortened(self.field)] if self.field else []
        text = ": ".join([*parts, shortened(self.message, MOST_CHARACTERS)])
        return f"{text} ({shortened(self.hint, MOST_CHARACTERS)})" if self.hint else text

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Findings:
    """Collects the errors of independent checks, so that all of them are reported at once."""

    def __init__(self) -> None:
        self._errors: list[SpecError] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """A context that collects a SpecError raised inside and continues after the block."""
        try:
            yield
        except SpecError as error:
            self._errors.append(error)

    def report(self) -> None:
        """Raise one SpecError with everything that was collected, if anything was."""
        if self._errors:
            raise SpecError.of(self._errors)


class PluginError(SpecError):
    """A plugin failed or returned a wrong result."""


class RunError(DdpmxError):
    """The run failed (exit code 1): it diverged, the disk is full, a checkpoint cannot be read."""


class Interrupted(DdpmxError):
    """The user stopped the run (exit code 130). Its last checkpoint is saved, and the message names it."""


class ReaderGone(DdpmxError):
    """Standard output is a pipe whose reader is gone, as in `ddpmx list | head -1` (exit code 141,
    silent)."""


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid spelling closest to `name`; None if none is close."""
    import difflib  # here, so that the command line starts faster

    close = difflib.get_close_matches(name[:MOST_CHARACTERS], sorted(valid), n=1, cutoff=0.6)
    return close[0] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the closest valid spelling, or all of them when none is close."""
    names = sorted(valid)
    close = closest(name, names)
    if close:
        return f"did you mean '{close}'?"
    return "valid: " + ", ".join(names) if names else ""
