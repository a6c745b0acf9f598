"""What ddpmx prints: without control characters, in any encoding, and with a message where standard output fails.

Standard output holds results, so a failure to write there is an error. Standard error holds progress, so one there is ignored:
a run does not end because its terminal was closed.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from ..errors import ReaderGone, RunError
from ..files import why
from ..text import lines

DEGRADE = "ddpmx.degrade"
PLAIN = {
    **{
        "≤": "<=",
        "≥": ">=",
        "≠": "!=",
        "±": "+-",
        "−": "-",
        "·": "*",
        "×": "x",
        "√": "sqrt",
        "→": "->",
        "↓": "v",
        "↑": "^",
    },
    **{
        "…": "...",
        "–": "-",
        "—": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "━": "-",
        "╸": "-",
        "╺": "-",
        "─": "-",
        "│": "|",
    },
    **{
        "α": "alpha",
        "β": "beta",
        "γ": "gamma",
        "δ": "delta",
        "Δ": "delta",
        "ε": "eps",
        "η": "eta",
        "λ": "lambda",
        "π": "pi",
    },
    **{
        "ρ": "rho",
        "σ": "sigma",
        "Σ": "Sigma",
        "τ": "tau",
        "θ": "theta",
        "ω": "omega",
        "ᾱ": "alpha_bar",
        "²": "^2",
        "³": "^3",
    },
    **{"₀": "_0", "₁": "_1", "₂": "_2", "ₜ": "_t", "½": "1/2", "∞": "inf", "∈": "in", "‖": "||"},
}
"""What stands for a character that a stream cannot encode; of all others their escape does."""


def _degrade(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(
        PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text
    ), error.end


codecs.register_error(DEGRADE, _degrade)


def echo(text: object, *, err: bool = False) -> None:
    """Print lines, with control characters made visible. Raises RunError where standard output fails, ReaderGone on a closed pipe."""
    print(lines(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def can_print(text: str) -> bool:
    """Whether standard output holds every character of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def guarded() -> Iterator[None]:
    """A context in which `sys.stdout` and `sys.stderr` fail as this module says, and no encoding makes them fail."""
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Output(before[0])), cast(TextIO, _Messages(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Guarded:
    """A text stream in front of another one, which is None where the descriptor was closed.

    It has no `buffer`, through which click would write UTF-8 to an ASCII terminal.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=DEGRADE)

    def __getattr__(self, name: str) -> object:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            if self._stream is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        self.write("".join(texts))

    def flush(self) -> None:
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError

    def _discard(self) -> None:
        """Let what is still buffered go to nowhere, or it would fail once more when Python ends."""
        stream = self._stream
        if stream in (sys.__stdout__, sys.__stderr__) and stream is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Output(_Guarded):
    """Fails again at each use once it has failed: libraries swallow what a stream raises."""

    _error: OSError | None = None

    def write(self, text: str) -> int:
        if self._error is not None:
            self._failed(self._error)
        return super().write(text)

    def _failed(self, error: OSError) -> None:
        self._error = error
        self._discard()
        if error.errno == errno.EPIPE:
            raise ReaderGone("nobody reads the output any more") from None
        raise RunError(f"standard output cannot be written: {why(error)}") from None


class _Messages(_Guarded):
    def write(self, text: str) -> int:
        return len(text) if self._stream is None else super().write(text)

    def _failed(self, error: OSError) -> None:
        self._discard()
        self._stream = None


def _occupy_closed_descriptors() -> None:
    """A file that is opened later must not become the standard output, into which libraries print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
