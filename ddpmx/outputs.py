"""Files and folders that a user asks for (`--out`, `--html`, …): checked before the work, written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DdpmxError, RunError, SpecError
from .files import why
from .text import shortened

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENODEV, errno.EPIPE, errno.ESTALE}


def cannot_write(path: Path, error: OSError, field: str = "") -> DdpmxError:
    """The error to raise: RunError where the disk is at fault (full, broken), SpecError where the place is (missing, read-only)."""
    message = f"{shortened(str(path))} cannot be written: {why(error)}"
    if error.errno in _OF_THE_DISK:
        return RunError(message)
    return SpecError(message, field=field)


def check(path: Path, field: str = "") -> None:
    """Makes the file's folder and raises SpecError where `path` cannot become a file, so that no work is done in vain.

    `field` is the option that named it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = _target(path)
        if target.is_dir():
            raise SpecError(f"{shortened(str(path))} is a folder, not a file", field=field)
        if not target.exists():
            beside = _beside(target)
            beside.touch(exist_ok=False)
            beside.unlink()
        elif _is_regular(target):  # opening a pipe would wait for its reader
            os.close(os.open(target, os.O_WRONLY))
    except OSError as error:
        raise cannot_write(path, error, field) from None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write the file to, which becomes `path` at the end, or is deleted where that fails.

    A link is followed; into a device or a pipe there is no beside, so the place is `path` itself. Raises OSError.
    """
    target = _target(path)
    if target.exists() and not _is_regular(target):
        yield target
        return
    beside = _beside(target)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)  # half a file would keep a full disk full
        raise


def write(path: Path, content: str | bytes, field: str = "") -> None:
    """Write text (as UTF-8) or bytes to a file that a user named. Raises SpecError or RunError that names it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as place:
            place.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
    except OSError as error:
        raise cannot_write(path, error, field) from None


def _target(path: Path) -> Path:
    """Where links lead. Raises OSError for one that leads to itself."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{os.getpid()}")


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)
