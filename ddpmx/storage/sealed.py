"""Folders of tensors with a `state.json` of checksums, each written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import RunError
from . import manifest
from .checkpoint_folder import sync

Tensors = Mapping[str, Tensor]


@contextmanager
def staged(target: Path, parts: Mapping[str, Tensors], content: Mapping[str, object]) -> Iterator[Path]:
    """A temporary folder beside `target` with a file `<name>.safetensors` for each part, on disk already.

    The caller renames it; if it does not, it is deleted. Raises RunError or OSError.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)  # not the run's own folder: if that is gone, the run has failed
    temporary.mkdir()
    try:
        for name, tensors in parts.items():
            try:
                save_file(contiguous(tensors), temporary / f"{name}.safetensors")
            except SafetensorError as error:
                raise RunError(f"{target} cannot be written: {error}") from error
        manifest.write(temporary, content)
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # a partial folder would keep a full disk full


def contiguous(tensors: Tensors) -> dict[str, Tensor]:
    """CPU copies of the tensors: safetensors needs them contiguous and not sharing memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
