"""Printing without control characters, in any encoding, and with a clear message if standard output fails.

Standard output has the results, so a failure to write to it is an error. Standard error has the progress, so
a failure there is ignored: a run does not end because its terminal was closed.
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
"""Replacements of characters that a stream cannot encode; all other such characters are escaped."""


def _degrade(error: UnicodeError) -> tuple[str, int]:
    """An error handler for codecs that replaces what cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(
        PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text
    ), error.end


codecs.register_error(DEGRADE, _degrade)


def echo(text: object, *, err: bool = False) -> None:
    """Print lines, with control characters made visible.

    Raises RunError if standard output fails, and ReaderGone if it is a closed pipe.
    """
    print(lines(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def can_print(text: str) -> bool:
    """Whether standard output can encode every character of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def guarded() -> Iterator[None]:
    """A context in which `sys.stdout` and `sys.stderr` treat failures and encodings as described above."""
    _occupy_closed_descriptors()
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Output(stdout)), cast(TextIO, _Messages(stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


class _Guarded:
    """A wrapper of a text stream, which is None if its descriptor was closed.

    It has no `buffer`, since click would use it to write UTF-8 to an ASCII terminal.
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
        """Send what is still buffered to /dev/null; writing it would fail once more when Python ends."""
        stream = self._stream
        if stream in (sys.__stdout__, sys.__stderr__) and stream is not None:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)


class _Output(_Guarded):
    """Standard output. Once it has failed, it fails at every use, as libraries may swallow the first
    error."""

    _error: OSError | None = None

    def write(self, text: str) -> int:
        if self._error is not None:
            self._failed(self._error)
        return super().write(text)

    def _failed(self, error: OSError) -> None:
        self._error = error
        self._discard()
        if error.errno == errno.EPIPE:
            raise ReaderGone("standard output was closed by its reader") from None
        raise RunError(f"standard output cannot be written: {why(error)}") from None


class _Messages(_Guarded):
    """Standard error. Once it has failed, it is silently discarded."""

    def write(self, text: str) -> int:
        return len(text) if self._stream is None else super().write(text)

    def _failed(self, error: OSError) -> None:
        self._discard()
        self._stream = None


def _occupy_closed_descriptors() -> None:
    """Open /dev/null as each closed standard descriptor, so that no other file becomes standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
