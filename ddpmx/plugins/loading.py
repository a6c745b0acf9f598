"""Loading plugins from files, modules and entry points. `trust` decides whether they may run."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path

from .. import files
from ..errors import Mark, PluginError, SpecError
from ..terminal.printing import echo
from . import faults

GROUP = "ddpmx.plugins"
"""The group of entry points through which installed packages offer plugins."""
MAX_BYTES = 10_000_000
"""Largest plugin file, in bytes."""
KINDS = "a plugin is a Python file, with a name that ends in .py, or an installed module"
_loaded: dict[str, str] = {}
"""SHA-256 of each plugin file that this process has run, and its path."""


def load_file(path: Path, content: bytes, module: str = "") -> None:
    """Run the code of a plugin file as a module of that name, once per process for the same content.

    Raises SpecError with the file and line at which the plugin failed.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest in _loaded:
        return
    name = module or f"ddpmx_plugin_{path.stem}_{digest[:8]}"
    faults.add_module(name)
    try:
        module_spec = importlib.util.spec_from_file_location(name, path)
        if module_spec is None:
            raise SpecError(f"the plugin {path} cannot be loaded as Python")
        plugin = importlib.util.module_from_spec(module_spec)
        sys.modules[name] = plugin  # pydantic resolves annotations through it
        code = compile(content, str(path), "exec", dont_inherit=True)
        with faults.watched(f"the plugin {path}"):
            # Not through a loader: it would run a .pyc file beside the plugin, whatever that contains.
            exec(code, plugin.__dict__)
        _loaded[digest] = str(path)
    except BaseException as error:
        raise _placed(error, str(path)) from None


def load_module(name: str) -> None:
    """Import a plugin that is a module. Raises SpecError if that fails or no module has that name."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise SpecError(f"'{name}' is not the name of a module", hint=KINDS)
    faults.add_module(name)
    try:
        with faults.watched(f"the plugin {name}"):
            importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise SpecError(f"no module is called '{error.name}'", hint=KINDS) from None
        raise _placed(error, name) from None


@cache
def load_installed() -> None:
    """Import the plugins of installed packages, from the entry points `ddpmx.plugins`, once per process.

    A plugin that fails is reported and skipped, so that it does not stop commands that do not need it.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            load_module(entry.module)
        except SpecError as error:
            owner = f" of the package {entry.dist.name}" if entry.dist else ""
            echo(f"warning: the entry point {entry.name}{owner} is skipped: {error}", err=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(read(path)).hexdigest()


def read(path: Path) -> bytes:
    """The code of a plugin file. Raises SpecError if it is unreadable, not a regular file or too large."""
    try:
        return files.read_bytes(path, MAX_BYTES)
    except SpecError as error:
        raise SpecError(f"the plugin {error.message}") from None


def _placed(error: BaseException, plugin: str) -> BaseException:
    """A SpecError, at the plugin's own line, for an error on import; Ctrl-C is returned unchanged."""
    if isinstance(error, SpecError):
        return error.at("", _line(error, plugin))
    if isinstance(error, KeyboardInterrupt):
        return error
    where = (
        Mark(error.filename or plugin, error.lineno or 1)
        if isinstance(error, SyntaxError)
        else _line(error, plugin)
    )
    return PluginError(
        f"the plugin {plugin} failed on import: {faults.error_text(error)}",
        mark=where,
        trace=faults.trace_of(error),
    )


def _line(error: BaseException, plugin: str) -> Mark | None:
    """The last line of the plugin's own code in the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin]
    return Mark(plugin, lines[-1] or 1) if lines else None
