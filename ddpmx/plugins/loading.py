"""Loading the files, modules and entry points that register more components. Whether they may run is `trust`'s affair."""

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
MAX_BYTES = 10_000_000
KINDS = "a plugin is a Python file, whose name ends in .py, or an installed module"
_loaded: dict[str, str] = {}


def load_file(path: Path, content: bytes, module: str = "") -> None:
    """Run the code of a plugin's file, as a module of that name. Once a process for the same content.

    Raises SpecError with the file and line where the plugin failed.
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
        made = importlib.util.module_from_spec(module_spec)
        sys.modules[name] = made  # pydantic resolves annotations through it
        code = compile(content, str(path), "exec", dont_inherit=True)
        with faults.watched(f"the plugin {path}"):
            exec(code, made.__dict__)  # a loader would take a .pyc beside it, whatever that holds
        _loaded[digest] = str(path)
    except BaseException as error:
        raise _placed(error, str(path)) from None


def load_module(name: str) -> None:
    """Import a plugin that is a module. Raises SpecError where that fails, or where nothing has that name."""
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
    """Import, once a process, what installed packages offer under the entry-point group `ddpmx.plugins`.

    One that fails is reported and left out: it must not stop commands that have no use for it.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            load_module(entry.module)
        except SpecError as error:
            owner = f" of the package {entry.dist.name}" if entry.dist else ""
            echo(f"warning: the entry point {entry.name}{owner} is left out: {error}", err=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(read(path)).hexdigest()


def read(path: Path) -> bytes:
    """The code of a plugin's file. Raises SpecError where there is none, for a device, which might not end, and for what is too large."""
    try:
        return files.read_bytes(path, MAX_BYTES)
    except SpecError as error:
        raise SpecError(f"the plugin {error.message}") from None


def _placed(error: BaseException, plugin: str) -> BaseException:
    """What a plugin raised when it was loaded, as a SpecError at its own line. Only Ctrl-C passes as it is."""
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
    """The plugin's own line that the traceback last went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin]
    return Mark(plugin, lines[-1] or 1) if lines else None
