"""The choice of a backend: the fastest that is built for the device, or the one that is forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ..errors import SpecError, nearest
from . import library, native, reference
from .operations import Backend

DEVICES = {"cpp": "cpu", "cuda": "cuda"}  # the native backends and their device types
MISSING: dict[str, str] = {}  # backends that cannot be used, with the reason
_BUILT: dict[str, Backend] = {"reference": reference}
_chosen: dict[tuple[str, torch.device], Backend] = {}  # by (forced name, device)
_forced: ContextVar[str] = ContextVar("ddpmx_backend", default="auto")


def _load() -> None:
    for name in DEVICES:
        reason = (
            library.load(name)
            if name == "cpp" or "cpp" in _BUILT
            else library.why_not_built(name) or "built, but it needs cpp"
        )
        if reason is None:
            _BUILT[name] = native
        else:
            MISSING[name] = reason
    if "cpp" in _BUILT:
        library.define()
        library.set_cpu_level_from_environment()


_load()


def backends() -> dict[str, bool]:
    """The name of every backend, and whether it is available here."""
    return {
        name: name in _BUILT and (name != "cuda" or torch.cuda.is_available())
        for name in ("reference", *DEVICES)
    }


def why_missing(name: str) -> str:
    """The reason why a backend is not available: its library's, or the lack of a device."""
    return MISSING.get(name, "no CUDA device" if torch.version.cuda else "this torch is built without CUDA")


def has_cpu_kernels(x: Tensor) -> bool:
    """Whether functions that have kernels for CPUs only run them on x."""
    return x.is_cpu and not torch.compiler.is_compiling() and backend(x.device) is native


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force a backend inside a `with` block, in this thread or task. "auto" cancels an outer choice.

    Raises SpecError for an unknown name or a backend that is not available.
    """
    available = backends()
    if name not in ("auto", *available):
        raise SpecError(f"unknown backend '{name}'", hint=nearest(name, ["auto", *available]))
    if name != "auto" and not available[name]:
        others = ", ".join(other for other, usable in available.items() if usable)
        raise SpecError(
            f"the backend '{name}' is not available here: {why_missing(name)}",
            hint=f"available: auto, {others}",
        )
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def active(device: torch.device | str = "cpu") -> str:
    """The name of the backend that runs for tensors on a device.

    Raises SpecError when the forced backend does not run on it.
    """
    kind = torch.device(device).type
    forced = _forced.get()
    if forced != "auto":
        if DEVICES.get(forced, kind) != kind:
            raise SpecError(
                f"the backend '{forced}' runs on {DEVICES[forced]}, not on {kind}", hint="auto or reference"
            )
        return forced
    return next((name for name in _BUILT if DEVICES.get(name) == kind), "reference")


def backend(device: torch.device) -> Backend:
    """The module of the backend that runs for tensors on a device."""
    choice = (_forced.get(), device)
    module = _chosen.get(choice)
    if module is None:
        module = _chosen[choice] = _BUILT[active(device)]
    return module
