"""What was slow to make and is kept between runs: decoded images, trained classifiers. safetensors with a JSON header."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ..errors import RunError


def cache_root() -> Path:
    """`$DDPMX_CACHE`, or `~/.cache/ddpmx`."""
    return Path(os.environ.get("DDPMX_CACHE") or "~/.cache/ddpmx").expanduser()


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the facts that `write` left there; None when there is no such file or it is damaged."""
    if not path.exists():
        return None
    content = path.read_bytes()  # at once: safe_open opens twice, and between the two another process may replace the file
    try:
        tensors = load(content)
    except SafetensorError:
        return None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, json.loads(header["__metadata__"]["facts"])


def write(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes whole or not at all, whatever other processes do at the same time. Raises RunError when it can't."""
    with scratch() as folder:
        try:
            packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(packed, Path(folder) / path.name, {"facts": json.dumps(facts)})
            path.parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path.name).replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"cannot write the cache file {path}: {error}; DDPMX_CACHE can name another folder") from error


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder on the cache's disk, removed on leaving. Raises RunError when the cache's folder can't be made."""
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".tmp-", dir=root)
    except OSError as error:
        raise RunError(f"cannot write in the cache folder {root}: {error}; DDPMX_CACHE can name another one") from error
