"""Telling errors of plugins, raised at any time and through any library, from ddpmx's own errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import DdpmxError, PluginError
from ..process import out_of_memory
from ..terminal.printing import echo
from ..text import shortened

if TYPE_CHECKING:
    import torch

SHOW = "DDPMX_TRACEBACK"
"""Environment variable; unless empty, a plugin's traceback is printed if no run folder keeps it."""

_modules: set[str] = set()
"""The modules and packages that are plugins."""
_reported: set[tuple[str, str]] = set()
"""(who, what) of the changes that have been reported."""


def add_module(name: str) -> None:
    """Count a module, and all modules inside it if it is a package, as a plugin from now on."""
    _modules.add(name)


def file_of(module: str) -> str:
    """The file of a plugin's module, or the module's name if it has no file."""
    return getattr(sys.modules.get(module), "__file__", None) or module


def passes(error: BaseException) -> bool:
    """Whether an error that comes out of a plugin's code is not the plugin's fault.

    These are ddpmx's own errors, Ctrl-C, running out of memory, and the closing of a generator.
    """
    ours = isinstance(error, DdpmxError) or type(error).__module__.startswith("ddpmx.")
    return ours or isinstance(error, KeyboardInterrupt | GeneratorExit) or out_of_memory.caused(error)


def plugin_error(error: BaseException) -> PluginError | None:
    """A PluginError that names the plugin's file, line and function; None if no plugin's code was running."""
    link: BaseException | None = error
    while link is not None and not passes(link):
        frames = [
            (frame, line) for frame, line in traceback.walk_tb(link.__traceback__) if _is_plugins(frame)
        ]
        if frames:
            frame, line = frames[-1]
            function = frame.f_code.co_qualname.replace("<locals>.", "")
            text = f"the plugin {frame.f_code.co_filename}:{line}: {function} failed: {error_text(link)}"
            return PluginError(text, trace=trace_of(error))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def error_text(error: BaseException) -> str:
    """An error's type and the first line of its message: `ValueError: no such file`."""
    text = shortened(str(error).strip().split("\n")[0])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trace_of(error: BaseException) -> str:
    """An error's traceback, as Python prints it."""
    return "".join(traceback.format_exception(error))


def line_in(error: BaseException, file: str) -> int:
    """The last line of a file in the error's traceback; 0 if the file is not in it."""
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file
    ]
    return lines[-1] if lines else 0


def keep_trace(trace: str, folder: Path) -> str:
    """Write a plugin's traceback into a run folder. Returns a sentence that says where it is."""
    path = folder / "plugin-traceback.txt"
    try:
        path.write_text(trace, encoding="utf-8", errors="backslashreplace")
    except OSError as failure:
        return f"Its traceback could not be written: {failure}"
    return f"Its traceback: {path}"


def _is_plugins(frame: FrameType) -> bool:
    """Whether a frame runs a plugin's code."""
    name = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and any(
        name == module or name.startswith(f"{module}.") for module in _modules
    )


@contextmanager
def watched(who: str) -> Iterator[None]:
    """A context that reports and restores any global state of the process that the code inside changes."""
    before = _State.now()
    try:
        yield
    finally:
        before.restore(who)


@dataclass(frozen=True)
class _State:
    """Global state that plugins must not change. It excludes random generators: ddpmx seeds its own."""

    dtype: torch.dtype
    """torch's default dtype."""
    gradients: bool
    """Whether torch records gradients."""
    deterministic: bool
    """Whether torch uses deterministic algorithms only."""
    device: torch.device
    """torch's default device."""
    folder: str
    """The working folder; empty if it was deleted."""

    @classmethod
    def now(cls) -> _State:
        """The present state."""
        import torch

        folder = ""
        with suppress(OSError):  # the working folder was deleted
            folder = os.getcwd()  # noqa: PTH109  (a string is faster, and every call of a plugin compares it)
        return cls(
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_device(),
            folder,
        )

    def restore(self, who: str) -> None:
        """Restore this state, with a warning for everything that `who` has changed."""
        now = _State.now()
        if now == self:
            return
        import torch

        if now.dtype != self.dtype:
            _report(who, "torch's default dtype", self.dtype, now.dtype)
            torch.set_default_dtype(self.dtype)
        if now.gradients != self.gradients:
            _report(who, "torch's gradient mode", self.gradients, now.gradients)
            torch.set_grad_enabled(self.gradients)
        if now.deterministic != self.deterministic:
            _report(who, "torch's choice of deterministic algorithms", self.deterministic, now.deterministic)
            torch.use_deterministic_algorithms(self.deterministic)
        if now.device != self.device:
            _report(who, "torch's default device", self.device, now.device)
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if now.folder != self.folder and self.folder:
            _report(who, "the working folder", self.folder, now.folder)
            with suppress(OSError):  # the former folder was deleted
                os.chdir(self.folder)


def _report(who: str, what: str, before: object, after: object) -> None:
    """Warn of a change, once per plugin and setting, as a method may be called in every step."""
    if (who, what) not in _reported:
        _reported.add((who, what))
        echo(f"warning: {who} changed {what} from {before} to {after}; it was restored", err=True)
