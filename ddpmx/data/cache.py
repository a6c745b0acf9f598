"""What was slow to make and is kept between runs: decoded images, trained classifiers. safetensors with a JSON header."""

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
    """What `unpack` makes of the tensors and the facts that `write` left there; None where there is no such file.

    `unpack` raises KeyError, TypeError, ValueError or RuntimeError for an entry that does not hold what it should. Such an entry, like
    one that is no safetensors file, is reported and counts as none, so that it is made again.
    """
    if not os.path.lexists(path):
        return None
    try:
        with (
            open_regular(path) as file
        ):  # read at once: safe_open opens twice, and between the two another process may replace the file
            content = file.read()
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts, found = dict(json.loads(header["__metadata__"]["facts"])), _crc32(tensors)
        if facts.pop("crc32", found) != found:  # entries of before have none
            raise ValueError("other bytes than were written")
        return unpack(tensors, facts)
    except (
        SafetensorError,
        SpecError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ):  # RecursionError is a RuntimeError
        warn(f"the cache entry {path} is damaged and is made again")
        return None


def write(path: Path, tensors: Tensors, facts: Mapping[str, object]) -> None:
    """Writes whole or not at all, whatever other processes do at the same time. Raises RunError when it can't."""
    with scratch() as folder:
        try:
            packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(
                packed, Path(folder) / path.name, {"facts": json.dumps({**facts, "crc32": _crc32(packed)})}
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # no entry of ours
            (Path(folder) / path.name).replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"cannot write the cache file {path}: {error}; DDPMX_CACHE can name another folder"
            ) from error


def _crc32(tensors: Tensors) -> str:
    """Of names and values: what tells bits that a disk has lost."""
    found = 0
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(
            tensor.contiguous().flatten().view(torch.uint8).numpy().data, zlib.crc32(name.encode(), found)
        )
    return f"{found:08x}"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder on the cache's disk, removed on leaving. Raises RunError when the cache's folder can't be made."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".tmp-", dir=root)
    except OSError as error:
        raise RunError(
            f"cannot write in the cache folder {root}: {error}; DDPMX_CACHE can name another one"
        ) from error
