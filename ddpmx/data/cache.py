"""The cache of slow results between runs, such as decoded images and trained classifiers.

Each entry is a safetensors file with a JSON header.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ..errors import RunError, SpecError
from ..files import cache_root, open_regular
from ..terminal.console import warn

Tensors = dict[str, Tensor]
T = TypeVar("T")


def read(path: Path, unpack: Callable[[Tensors, dict[str, object]], T]) -> T | None:
    """Read an entry that `write` stored: `unpack(tensors, facts)`, or None if there is no such file.

    `unpack` raises KeyError, TypeError, ValueError or RuntimeError for unexpected content. Then, or if the
    file is not valid safetensors, the entry is reported and None is returned, so that the caller recreates
    it.
    """
    if not os.path.lexists(path):
        return None
    try:
        # Read in one go: safe_open opens the file twice, and another process may replace it in between.
        with open_regular(path) as file:
            content = file.read()
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts, checksum = dict(json.loads(header["__metadata__"]["facts"])), _crc32(tensors)
        if facts.pop("crc32", checksum) != checksum:  # old entries have no checksum
            raise ValueError("the checksum does not match")
        return unpack(tensors, facts)
    # RuntimeError includes RecursionError, which deeply nested JSON raises.
    except (SafetensorError, SpecError, OSError, KeyError, TypeError, ValueError, RuntimeError):
        warn(f"the cache entry {path} is damaged; it will be recreated")
        return None


def write(path: Path, tensors: Tensors, facts: Mapping[str, object]) -> None:
    """Store an entry atomically, even when several processes write it. Raises RunError if that fails."""
    with scratch() as folder:
        try:
            packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(
                packed, Path(folder) / path.name, {"facts": json.dumps({**facts, "crc32": _crc32(packed)})}
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # not one of our entries
            (Path(folder) / path.name).replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"cannot write the cache file {path}: {error}; set DDPMX_CACHE to a writable folder"
            ) from error


def _crc32(tensors: Tensors) -> str:
    """Checksum of names and values, which detects bits that a disk has lost."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        content = tensor.contiguous().flatten().view(torch.uint8).numpy().data
        checksum = zlib.crc32(content, zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the cache's disk. Raises RunError if the cache's folder cannot be created."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".tmp-", dir=root)
    except OSError as error:
        raise RunError(
            f"cannot write to the cache folder {root}: {error}; set DDPMX_CACHE to a writable folder"
        ) from error
