"""Reading a file that a user or a stranger names: only regular files, only up to a size, and every failure a message."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Literal

from .errors import SpecError
from .text import shortened

MAX_JSON = 50_000_000
"""Bytes of a JSON file."""


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by the home folder, as a shell does it.

    Raises SpecError for an unknown user, and for a path that no system can hold.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise SpecError(f"'{shortened(text)}' is not a path: it holds a null character")
    try:
        return (
            Path(text).expanduser() if text.startswith("~") else Path(text)
        )  # Path("./~") has lost what tells it apart
    except RuntimeError as error:
        raise SpecError(f"'{shortened(text)}': {error}") from None


def cache_root() -> Path:
    """`$DDPMX_CACHE`, or `~/.cache/ddpmx`."""
    return expanded(os.environ.get("DDPMX_CACHE") or "~/.cache/ddpmx")


def open_regular(path: Path) -> BufferedReader:
    """The file, opened for reading; links are followed.

    Raises SpecError that names it where it is missing, unreadable, a folder, or a pipe, socket or device, which might never end.
    """
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a pipe that nobody writes to would block
    except (OSError, ValueError) as error:
        raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise SpecError(
            f"{shortened(str(path))} is {'a folder' if stat.S_ISDIR(kind) else 'a pipe or a device'}, not a file"
        )
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises SpecError that names it, as `open_regular` does."""
    with open_regular(path) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    if len(content) > most:
        raise SpecError(f"{shortened(str(path))} is larger than {most:,} bytes")
    return content


def read_text(path: Path, most: int) -> str:
    """The same as UTF-8 text, whatever the locale."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{shortened(str(path))} is not a text file in UTF-8") from None


def read_json(path: Path, most: int = MAX_JSON) -> object:
    """The value in a JSON file. Raises SpecError also where it is not JSON, or nested too deep."""
    import json  # not at every start of the command line

    text = read_text(path, most)
    try:
        return json.loads(text)
    except RecursionError:
        raise SpecError(f"{shortened(str(path))} is nested too deep") from None
    except ValueError as error:
        raise SpecError(f"{shortened(str(path))} is not valid JSON: {shortened(str(error))}") from None


def why(error: Exception) -> str:
    """The system's reason in words, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or shortened(str(error))


def resolved(path: Path) -> Path:
    """The absolute path without links and `..`; what links in a circle hide stays as it is."""
    return Path(os.path.realpath(path))


def kind(path: Path) -> Literal["missing", "file", "folder", "other"]:
    """What is there, links followed; `other` is a pipe, socket or device. A link to nothing is missing.

    Raises SpecError where that cannot be told: for want of permission, for a link to itself, for a name that is too long.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError) as error:
        raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
