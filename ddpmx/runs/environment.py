"""Where a run ran: versions, device, commit; what `environment.json` and `doctor` say."""

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

PACKAGES = (
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
    """Of Python, torch, ddpmx and the libraries that decide numbers; absent ones are left out."""
    found = {"ddpmx": ddpmx.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """The card's or the processor's own name."""
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
    """The commit of the checkout that ddpmx runs from, with `+` for uncommitted changes; None outside one."""
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


def describe(device: torch.device, backend: str) -> dict[str, object]:
    """The facts that environment.json starts with."""
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
