"""The compiled libraries of `csrc/`: why one is missing, their operators, and the CPU level."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..errors import SpecError

FOLDER = Path(__file__).parent
OPERATORS: dict[
    str, Callable[..., None]
] = {}  # torch.ops.ddpmx, without the queries below; each writes into its last arguments
_queries = torch.ops.ddpmx  # those operators that report what was built


def load(name: str) -> str | None:
    """Load the library "cpp", or "cuda" after it. Returns the reason why it cannot be used, or None."""
    if (reason := why_not_built(name)) is not None:
        return reason
    try:
        torch.ops.load_library(str(_files(name)[0]))
    except OSError as error:
        return f"built, but it does not load: {error}"
    if name == "cpp":
        os.register_at_fork(
            after_in_child=lambda: torch.set_num_threads(1)
        )  # OpenMP would wait for threads that only the parent process has
    return None


def why_not_built(name: str) -> str | None:
    """The reason why a library was not built, as the install recorded it, or None if it was built."""
    if _files(name):
        return None
    record = FOLDER / "_build.json"
    if not record.exists():
        return "never built: ddpmx is on the path but not installed (`pip install .` builds it)"
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))[name])
    except (ValueError, TypeError, KeyError):
        return f"missing, and {record} does not say why: install ddpmx again"


def _files(name: str) -> list[Path]:
    return sorted(FOLDER.glob(f"_{name}.*"))


def define() -> None:
    """Fill `OPERATORS` once "cpp" is loaded, and register how torch traces them."""
    names = (
        name.removeprefix("ddpmx::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("ddpmx::")
    )
    for name in names:
        operator = getattr(torch.ops.ddpmx, name).default
        if operator._schema.is_mutable:  # the queries take no tensors
            OPERATORS[name] = operator
            torch.library.register_fake(f"ddpmx::{name}", _fake)


def _fake(*arguments: object) -> None:
    """Trace an operator. Raises RuntimeError for tensors on several devices, as the kernels do."""
    tensors = [value for value in tree_leaves(arguments) if isinstance(value, Tensor)]
    if len({tensor.device for tensor in tensors}) > 1:
        raise RuntimeError("ddpmx: all tensors should be on one device")


def build(name: str) -> str:
    """The compiler and flags of "cpp", or the GPUs that "cuda" was compiled for."""
    return str(_queries.cpp_build() if name == "cpp" else _queries.cuda_build())


@cache
def layer_dtypes() -> list[str]:
    """The dtypes of the images that the kernels of layers take."""
    if not hasattr(_queries, "layer_dtypes"):  # a library that was built from older sources
        return ["float32"]
    return str(_queries.layer_dtypes()).split()


def cpu_levels(all: bool = False) -> list[str]:
    """The levels of vector instructions, slowest first: those that this machine runs, or `all` compiled."""
    return str(_queries.cpu_levels(all)).split()


def cpu_level() -> str:
    """The CPU level in use."""
    return str(_queries.cpu_level())


def set_cpu_level(name: str) -> None:
    """Set the CPU level of the whole process. Raises SpecError unless this machine runs it."""
    if name not in cpu_levels():
        raise SpecError(
            "DDPMX_CPU_LEVEL should be a level that this machine runs: "
            f"{', '.join(cpu_levels())}; not '{name}'"
        )
    _queries.set_cpu_level(name)


def set_cpu_level_from_environment() -> None:
    """Set the level that the environment variable DDPMX_CPU_LEVEL names, if it is set."""
    if name := os.environ.get("DDPMX_CPU_LEVEL"):
        set_cpu_level(name)
