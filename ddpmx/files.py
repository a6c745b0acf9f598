"""Reading files named by users: regular files only, of limited size, with a message for every failure."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Literal

from .errors import SpecError
from .text import shortened

MAX_JSON = 50_000_000
"""Largest JSON file, in bytes."""


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by the home folder, as in a shell.

    Raises SpecError for an unknown user and for a null character.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise SpecError(f"'{shortened(text)}' is not a path: it contains a null character")
    try:
        # The text decides: Path("./~") equals Path("~"), but means a file called "~".
        return Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError as error:
        raise SpecError(f"'{shortened(text)}': {error}") from None


def cache_root() -> Path:
    """The folder for caches: `$DDPMX_CACHE`, or `~/.cache/ddpmx`."""
    return expanded(os.environ.get("DDPMX_CACHE") or "~/.cache/ddpmx")


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, following links.

    Raises SpecError if the file is missing or unreadable, if it is a folder, or if it is a pipe, socket or
    device, which might never end.
    """
    try:
        # O_NONBLOCK, as opening a pipe that nobody writes to would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise SpecError(f"{shortened(str(path))} is {what}, not a file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises SpecError as `open_regular` does."""
    with open_regular(path) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    if len(content) > most:
        raise SpecError(f"{shortened(str(path))} is larger than {most:,} bytes")
    return content


def read_text(path: Path, most: int) -> str:
    """The content of a file as UTF-8 text, whatever the locale. Raises SpecError as `read_bytes` does."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{shortened(str(path))} is not a text file in UTF-8") from None


def read_json(path: Path, most: int = MAX_JSON) -> object:
    """The value in a JSON file. Also raises SpecError if it is not JSON or is nested too deeply."""
    import json  # here, so that the command line starts faster

    text = read_text(path, most)
    try:
        return json.loads(text)
    except RecursionError:
        raise SpecError(f"{shortened(str(path))} is nested too deeply") from None
    except ValueError as error:
        raise SpecError(f"{shortened(str(path))} is not valid JSON: {shortened(str(error))}") from None


def why(error: Exception) -> str:
    """The reason of an error in the system's words, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or shortened(str(error))


def resolved(path: Path) -> Path:
    """The absolute path without links and `..`. Circular links are left in it."""
    return Path(os.path.realpath(path))


def kind(path: Path) -> Literal["missing", "file", "folder", "other"]:
    """The kind of file at a path, following links. `other` is a pipe, socket or device.

    Raises SpecError if that cannot be determined: without permission, for circular links, for a name too
    long.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError) as error:
        raise SpecError(f"{shortened(str(path))} cannot be read: {why(error)}") from None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
