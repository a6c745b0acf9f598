"""Which implementation of the hot math runs: the fastest that is built and fits the device, or one that is forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ..errors import SpecError, nearest
from . import library, native, reference
from .operations import Backend

DEVICES = {"cpp": "cpu", "cuda": "cuda"}  # the native backends, and the type of device that each runs on
MISSING: dict[str, str] = {}  # backends that cannot be used, and why
_BUILT: dict[str, Backend] = {"reference": reference}
_chosen: dict[tuple[str, torch.device], Backend] = {}  # by what is forced and the device
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
    """Every backend, and whether it is available here."""
    return {
        name: name in _BUILT and (name != "cuda" or torch.cuda.is_available())
        for name in ("reference", *DEVICES)
    }


def why_missing(name: str) -> str:
    """Why a backend that is not available is not: the library's own reason, or the device that it needs."""
    return MISSING.get(name, "no CUDA device" if torch.version.cuda else "this torch is built without CUDA")


def has_cpu_kernels(x: Tensor) -> bool:
    """Whether x is on a CPU, where what has no kernel for other devices runs by one."""
    return x.is_cpu and not torch.compiler.is_compiling() and backend(x.device) is native


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Forces a backend inside a `with` block, in this thread or task; "auto" lifts an outer choice.

    Raises SpecError for an unknown name and for a backend that is not available.
    """
    available = backends()
    if name not in ("auto", *available):
        raise SpecError(f"unknown backend '{name}'", hint=nearest(name, ["auto", *available]))
    if name != "auto" and not available[name]:
        others = ", ".join(other for other, there in available.items() if there)
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
    """The name of the backend that runs for tensors on that device.

    Raises SpecError when the backend that is forced does not run there.
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
    """The module that runs for tensors on that device."""
    wanted = (_forced.get(), device)
    module = _chosen.get(wanted)
    if module is None:
        module = _chosen[wanted] = _BUILT[active(device)]
    return module
