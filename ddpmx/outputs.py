"""Output files and folders (`--out`, `--html`, …): checked before the work, written completely or not at
all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
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
"""System errors for which the machine is to blame; any others are blamed on the path."""
STAGING = ".ddpmx-"
"""Prefix of the name of a folder that is still being filled."""


def cannot_write(path: Path, error: OSError | ValueError, field: str = "") -> DdpmxError:
    """The error to raise: RunError for the disk (full, broken), SpecError for the path (read-only).

    A ValueError means a name that no file can have, or that this locale cannot encode.
    """
    message = f"{shortened(str(path))} cannot be written: {why(error)}"
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return RunError(message)
    return SpecError(message, field=field)


def check(path: Path, field: str = "") -> None:
    """Check that a file can be written, before any work is done for it. Leaves nothing behind.

    `field` is the option that names the file. Raises SpecError if the path is to blame, RunError if the disk
    is.
    """
    try:
        with _folders(path.parent, keep=False):
            _try(path, field)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


def check_all(files: Mapping[str, Path]) -> None:
    """Check the files named by several options, as `check` does, and that no two are the same file."""
    for option, file in files.items():
        check(file, option)
    seen: dict[Path, str] = {}
    for option, file in files.items():
        first = seen.setdefault(file.resolve(), option)
        if first != option:
            raise SpecError(f"names the same file as {first}", field=option)


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
    """Create and remove a temporary file beside the target."""
    beside = _beside(target)
    beside.touch()
    beside.unlink()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path to write a file to. It becomes `path` at the end, or is deleted if anything fails.

    Links are followed. A device or pipe is written to directly, and then the path is `path` itself. Raises
    OSError.
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
            os.close(os.open(target, os.O_WRONLY))  # fails for a read-only file, which is not replaced
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)  # an incomplete file would take up space on a full disk
        raise


def write(path: Path, content: str | bytes, field: str = "") -> None:
    """Write text (as UTF-8) or bytes to a file named by the option `field`. Raises SpecError or RunError."""
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        # Appending, so that what a shell's `>` has already written is not overwritten.
        with _folders(path.parent), whole(path) as temporary, temporary.open("ab") as file:
            file.write(content)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


def check_folder(path: Path, field: str, ours: Callable[[Path], bool] = lambda _: False) -> None:
    """Check that a folder can be written, and that any entries in it are `ours`. Leaves nothing behind.

    Raises SpecError if the path is to blame, RunError if the disk is.
    """
    try:
        folder = Path(os.path.realpath(path))
        with _folders(folder, keep=False):
            foreign = next(
                (entry for entry in folder.iterdir() if not _is_stale(entry) and not ours(entry)), None
            )
            if foreign is not None:
                text = f"{shortened(str(path))} is not empty: it contains {shortened(foreign.name)}"
                raise SpecError(text, field=field, hint="name a new folder, or an empty one")
            _try_beside(folder / "trial")
    except (OSError, ValueError) as error:
        raise cannot_write(path, error, field) from None


@contextmanager
def whole_folder(
    path: Path, field: str = "", ours: Callable[[Path], bool] = lambda _: False, last: str = ""
) -> Iterator[Path]:
    """An empty folder to fill. It becomes `path` at the end, or is deleted if anything fails.

    Entries of `path` that are `ours` are replaced. `last` is the entry that marks the folder as complete.
    Raises what `check_folder` raises.
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
    """Create the folder `staging` and lock it while it is being filled; delete it if it remains.

    Folders that killed processes left beside it are deleted first.
    """
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
        shutil.rmtree(staging, ignore_errors=True)  # after success it has already been moved


def _is_stale(entry: Path) -> bool:
    """Whether an entry is a folder that a process was filling when it was killed."""
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
    """Replace the content of `target` by that of `staging`.

    The folder `target` itself stays, since a shell may be in it, or it may be a mount point.
    """
    old = [entry for entry in target.iterdir() if entry != staging]
    if not all(map(ours, old)):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    for entry in sorted(old, key=lambda entry: entry.name != last):
        entry.unlink()
    for entry in sorted(staging.iterdir(), key=lambda entry: entry.name == last):
        entry.replace(target / entry.name)


@contextmanager
def _folders(folder: Path, keep: bool = True) -> Iterator[None]:
    """Create a folder and its parents. If the body fails, or without `keep`, new ones are removed again."""
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
        for created in new if not keep else []:
            # os.path.isdir, as Path.is_dir raises for a long name
            if os.path.isdir(created) and not any(created.iterdir()):  # noqa: PTH112
                created.rmdir()


def _target(path: Path) -> Path | None:
    """The path that links lead to; None for devices, pipes and open files, which are written to directly.

    Raises OSError for circular links.
    """
    target = path
    for _ in range(40):  # as many links as Linux follows
        if target.parent.resolve().is_relative_to(
            "/proc"
        ):  # a file that a process has open, like /dev/stdout
            return None
        if not target.is_symlink():
            return None if target.exists() and not _is_regular(target) and not target.is_dir() else target
        target = target.parent / target.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _beside(target: Path) -> Path:
    """The temporary file beside a target, in the same folder so that it can replace the target."""
    return target.with_name(f".{target.name[:40]}.{os.getpid()}")


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
