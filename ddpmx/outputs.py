"""Files and folders that a user asks for (`--out`, `--html`, …): checked before the work, written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DdpmxError, RunError, SpecError
from .files import why
from .text import shortened

DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EFBIG,
    errno.ENODEV,
    errno.EPIPE,
    errno.ESTALE,
    errno.ENOMEM,
}
"""Errors of the machine; any other is of the place that was named."""
STAGING = ".ddpmx-"
"""Begins the name of a folder that is still being filled."""


def cannot_write(path: Path, error: OSError | ValueError, field: str = "") -> DdpmxError:
    """The error to raise: RunError where the disk is at fault (full, broken), SpecError where the place is (missing, read-only).

    A ValueError is a name that no file can have, or none under this locale.
    """
    message = f"{shortened(str(path))} cannot be written: {why(error)}"
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return RunError(message)
    return SpecError(message, field=field)


def check(path: Path, field: str = "") -> None:
    """Raise SpecError where `path` cannot become a file, or RunError where the disk fails, so that no work is done in vain.

    `field` is the option that named it. Leaves nothing behind.
    """
    try:
        with _folders(path.parent, keep=False):
            _try(path, field)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


def _try(path: Path, field: str) -> None:
    target = _target(path)
    if target is None:
        if not stat.S_ISFIFO(path.stat().st_mode):  # opening a pipe would wait for its reader
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return
    if target.is_dir():
        raise SpecError(f"{shortened(str(path))} is a folder, not a file", field=field)
    if target.exists():
        os.close(os.open(target, os.O_WRONLY))
    _try_beside(target)


def _try_beside(target: Path) -> None:
    beside = _beside(target)
    beside.touch()
    beside.unlink()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write the file to, which becomes `path` at the end, or is deleted where that fails.

    A link is followed; into a device or a pipe there is no beside, so the place is `path` itself. Raises OSError.
    """
    target = _target(path)
    if target is None:
        yield path
        return
    beside = _beside(target)
    beside.unlink(missing_ok=True)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        if target.exists():
            os.close(os.open(target, os.O_WRONLY))  # one that is read-only stays
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)  # half a file would keep a full disk full
        raise


def write(path: Path, content: str | bytes, field: str = "") -> None:
    """Write text (as UTF-8) or bytes to a file that a user named. Raises SpecError or RunError that names it."""
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        with (
            _folders(path.parent),
            whole(path) as place,
            place.open("ab") as file,
        ):  # after what a shell's `>` put there
            file.write(content)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


def check_folder(path: Path, field: str, ours: Callable[[Path], bool] = lambda _: False) -> None:
    """Raise SpecError where `path` cannot become a new folder, or is one with an entry that is not one of `ours`.

    RunError where the disk fails. Leaves nothing behind.
    """
    try:
        folder = Path(os.path.realpath(path))
        with _folders(folder, keep=False):
            foreign = next(
                (entry for entry in folder.iterdir() if not _is_stale(entry) and not ours(entry)), None
            )
            if foreign is not None:
                text = f"{shortened(str(path))} is not empty: it holds {shortened(foreign.name)}"
                raise SpecError(text, field=field, hint="name a new folder, or an empty one")
            _try_beside(folder / "trial")
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


@contextmanager
def whole_folder(
    path: Path, field: str = "", ours: Callable[[Path], bool] = lambda _: False, last: str = ""
) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` at the end, or is deleted where that fails; `ours` in `path` are replaced.

    `last` is the entry without which the folder is not complete. Raises what `check_folder` does.
    """
    check_folder(path, field, ours)
    target = Path(os.path.realpath(path))
    inside = target.is_dir() and (
        any(target.iterdir()) or os.path.ismount(target) or target.samefile(Path.cwd())
    )
    staging = (target if inside else target.parent) / f"{STAGING}{target.name[:40]}.{os.getpid()}"
    try:
        with _folders(staging.parent), _filling(staging):
            yield staging
            if inside:
                _exchange(target, staging, ours, last)
            else:
                if target.exists():
                    staging.chmod(stat.S_IMODE(target.stat().st_mode))
                staging.replace(target)
    except OSError as error:
        raise cannot_write(path, error, field) from None


@contextmanager
def _filling(staging: Path) -> Iterator[None]:
    """Make the folder, locked as long as this process fills it, in place of what killed processes left; delete what stays of it."""
    for entry in list(staging.parent.iterdir()):
        if entry.name.rpartition(".")[0] == staging.name.rpartition(".")[0] and _is_stale(entry):
            shutil.rmtree(entry)
    staging.mkdir()
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
        shutil.rmtree(staging, ignore_errors=True)  # gone already where all went well


def _is_stale(entry: Path) -> bool:
    """Whether it is a folder that a process was filling which no longer runs."""
    if not entry.name.startswith(STAGING) or entry.is_symlink() or not entry.is_dir():
        return False
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _exchange(target: Path, staging: Path, ours: Callable[[Path], bool], last: str) -> None:
    """Put the content of `staging` in place of that of `target`, which stays: a shell may be in it, or it is a mount point."""
    before = [entry for entry in target.iterdir() if entry != staging]
    if not all(map(ours, before)):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    for entry in sorted(before, key=lambda entry: entry.name != last):
        entry.unlink()
    for entry in sorted(staging.iterdir(), key=lambda entry: entry.name == last):
        entry.replace(target / entry.name)


@contextmanager
def _folders(folder: Path, keep: bool = True) -> Iterator[None]:
    """The folder and those above it, made; those that are new are removed again where the body fails, or without `keep`."""
    folder = Path(os.path.realpath(folder))
    new = [above for above in (folder, *folder.parents) if not os.path.lexists(above)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        yield
    except BaseException:
        keep = False
        raise
    finally:
        for made in new if not keep else []:
            if os.path.isdir(made) and not any(made.iterdir()):  # noqa: PTH112  (Path's raises for a long name)
                made.rmdir()


def _target(path: Path) -> Path | None:
    """Where links lead; None for what is written into as it is: devices, pipes, and what a process has open.

    Raises OSError for a link that leads to itself.
    """
    place = path
    for _ in range(40):  # as many links as Linux follows
        if place.parent.resolve().is_relative_to("/proc"):  # as /dev/stdout does: somebody has that file open
            return None
        if not place.is_symlink():
            return None if place.exists() and not _is_regular(place) and not place.is_dir() else place
        place = place.parent / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:40]}.{os.getpid()}")


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
