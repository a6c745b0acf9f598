"""The compiled libraries of `csrc/`: whether they are there, why not, and the CPU level that they run at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from ..errors import SpecError

FOLDER = Path(__file__).parent
_facts = torch.ops.ddpmx  # the operators that say what was built


def load(name: str) -> str | None:
    """Load the library "cpp", or "cuda" after it. Returns why it cannot be used, or None."""
    files = sorted(FOLDER.glob(f"_{name}.*"))
    if not files:
        record = FOLDER / "_build.json"
        return (
            str(json.loads(record.read_text(encoding="utf-8"))[name])
            if record.exists()
            else "never built: ddpmx is not installed, only on the path"
        )
    try:
        torch.ops.load_library(str(files[0]))
    except OSError as error:
        return f"built, but it does not load: {error}"
    if name == "cpp":
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))  # OpenMP would wait for threads that only the parent has
    return None


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
        raise SpecError(f"DDPMX_CPU_LEVEL should be a level that this machine runs: {', '.join(cpu_levels())}; not '{name}'")
    _facts.set_cpu_level(name)


def set_cpu_level_from_environment() -> None:
    """DDPMX_CPU_LEVEL, where it is set."""
    if name := os.environ.get("DDPMX_CPU_LEVEL"):
        set_cpu_level(name)
