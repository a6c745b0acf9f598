"""The compiled libraries of `csrc/`: whether they are there, why not, their operators, and the CPU level that they run at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..errors import SpecError

FOLDER = Path(__file__).parent
OPERATORS: dict[
    str, Callable[..., None]
] = {}  # those of torch.ops.ddpmx; they write into their last arguments
_facts = torch.ops.ddpmx  # the operators that say what was built


def load(name: str) -> str | None:
    """Load the library "cpp", or "cuda" after it. Returns why it cannot be used, or None."""
    if (reason := why_not_built(name)) is not None:
        return reason
    try:
        torch.ops.load_library(str(_files(name)[0]))
    except OSError as error:
        return f"built, but it does not load: {error}"
    if name == "cpp":
        os.register_at_fork(
            after_in_child=lambda: torch.set_num_threads(1)
        )  # OpenMP would wait for threads that only the parent has
    return None


def why_not_built(name: str) -> str | None:
    """Why there is no such library, as its install wrote it down; None where there is one."""
    if _files(name):
        return None
    record = FOLDER / "_build.json"
    if not record.exists():
        return "never built: ddpmx is not installed, only on the path (`pip install .` builds it)"
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))[name])
    except (ValueError, TypeError, KeyError):
        return f"not there, and {record} does not say why: install ddpmx again"


def _files(name: str) -> list[Path]:
    return sorted(FOLDER.glob(f"_{name}.*"))


def define() -> None:
    """Look the operators up, once "cpp" is loaded, and say how to trace them: nothing is computed."""
    names = (
        name.removeprefix("ddpmx::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("ddpmx::")
    )
    for name in names:
        operator = getattr(torch.ops.ddpmx, name).default
        if operator._schema.is_mutable:  # the others take no tensors
            OPERATORS[name] = operator
            torch.library.register_fake(f"ddpmx::{name}", _fake)


def _fake(*arguments: object) -> None:
    """Refuses a tensor without memory among others, as the kernels refuse one on another device."""
    tensors = [value for value in tree_leaves(arguments) if isinstance(value, Tensor)]
    if len({tensor.device for tensor in tensors}) > 1:
        raise RuntimeError("ddpmx: tensors on several devices")


def build(name: str) -> str:
    """Compiler and flags of "cpp", the GPUs that "cuda" was compiled for."""
    return str(_facts.cpp_build() if name == "cpp" else _facts.cuda_build())


def cpu_levels(all: bool = False) -> list[str]:
    """The levels of vector instructions that this machine runs, or all that are compiled, slowest first."""
    return str(_facts.cpu_levels(all)).split()


def cpu_level() -> str:
    """The level in use."""
    return str(_facts.cpu_level())


def set_cpu_level(name: str) -> None:
    """Use a level, for the whole process. Raises SpecError unless this machine runs it."""
    if name not in cpu_levels():
        raise SpecError(
            f"DDPMX_CPU_LEVEL should be a level that this machine runs: {', '.join(cpu_levels())}; not '{name}'"
        )
    _facts.set_cpu_level(name)


def set_cpu_level_from_environment() -> None:
    """DDPMX_CPU_LEVEL, where it is set."""
    if name := os.environ.get("DDPMX_CPU_LEVEL"):
        set_cpu_level(name)
