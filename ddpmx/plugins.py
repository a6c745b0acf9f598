"""Loading the files, modules and entry points that register more components."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path

from .errors import Mark, SpecError

GROUP = "ddpmx.plugins"
MAX_BYTES = 10_000_000
_loaded: dict[str, str] = {}


def load(plugin: str) -> None:
    """Run a plugin: the path of a `.py` file, or the name of a module. Once a process for the same content.

    Raises SpecError with the file and line where the plugin failed.
    """
    path = Path(plugin)
    try:
        if not plugin.endswith(".py"):
            importlib.import_module(plugin)
            return
        content = read(path)
        digest = hashlib.sha256(content).hexdigest()
        if digest in _loaded:
            return
        name = f"ddpmx_plugin_{path.stem}_{digest[:8]}"
        module_spec = importlib.util.spec_from_file_location(name, path)
        if module_spec is None:
            raise SpecError(f"the plugin {plugin} cannot be loaded as Python")
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[name] = module  # pydantic resolves annotations through it
        exec(
            compile(content, plugin, "exec", dont_inherit=True), module.__dict__
        )  # a loader would take a .pyc beside it, whatever that holds
        _loaded[digest] = plugin
    except SpecError as error:
        raise error.at("", _line(error, path)) from None
    except (Exception, SystemExit) as error:  # a plugin's own errors, whatever they are
        where = Mark(error.filename or plugin, error.lineno or 1) if isinstance(error, SyntaxError) else _line(error, path)
        raise SpecError(f"the plugin {plugin} failed on import: {type(error).__name__}: {error}", mark=where) from None


@cache
def load_installed() -> None:
    """Import, once a process, what installed packages offer under the entry-point group `ddpmx.plugins`."""
    for entry in importlib.metadata.entry_points(group=GROUP):
        load(entry.module)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(read(path)).hexdigest()


def read(path: Path) -> bytes:
    """The code of a plugin's file. Raises SpecError where there is none, for a device, which might not end, and for what is too large."""
    try:
        if path.exists() and not path.is_file():
            raise SpecError(f"the plugin {path} is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"the plugin {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SpecError(f"the plugin {path} is larger than {MAX_BYTES:,} bytes")
    return content


def _line(error: BaseException, path: Path) -> Mark | None:
    """The plugin's own line that the traceback last went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return Mark(str(path), lines[-1] or 1) if lines else None
