"""The environment of a run, for `environment.json` and `doctor`: versions, device and commit."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

import ddpmx

PACKAGES = (  # libraries that can affect results, or that record them
    "numpy",
    "pydantic",
    "datasets",
    "torch-fidelity",
    "safetensors",
    "torchvision",
    "wandb",
    "tensorboard",
)


def versions() -> dict[str, str]:
    """The versions of ddpmx, Python, torch and those of PACKAGES that are installed."""
    versions = {"ddpmx": ddpmx.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def device_name(device: torch.device) -> str:
    """The model name of the GPU or the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("model name")
        ]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit that ddpmx runs from, with `+` for uncommitted changes; None outside a Git checkout."""
    folder = Path(__file__).parents[1]
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(folder), *command],
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def facts(device: torch.device, backend: str) -> dict[str, object]:
    """The first entries of environment.json."""
    return {
        **versions(),
        "platform": platform.platform(),
        "device": f"{device.type}: {device_name(device)}",
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "backend": backend,
        "commit": commit(),
        "command": shlex.join(["python", "-m", "ddpmx", *sys.argv[1:]]),
    }
