"""Where `sample` writes when no file is named: the name tells the settings, and images of other settings are never overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..sampling.editing import Given
from ..spec.schema import Spec

KEY = "ddpmx-settings"
"""Of the digest in a picture's text."""
DECIDING = ("dataset", "model", "schedule", "prediction", "sampler", "guidance")
"""Blocks of a spec that decide what an image looks like, beside the weights."""


def digest(spec: Spec, weights: Path, given: Given | None, options: Mapping[str, Any]) -> str:
    """Equal where all settings are that decide what is drawn: those of the spec, the weights' file, pictures, and `options`."""
    stat, resolved = weights.stat(), spec.resolved()
    settings = {
        "spec": {key: resolved[key] for key in DECIDING},
        "precision": spec.train.precision,
        "weights": [str(weights.resolve()), stat.st_size, stat.st_mtime_ns],
        **options,
    }
    found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for tensor in () if given is None else (given.image, given.known, given.mask):
        found.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def free_path(folder: Path, stem: str, settings: str) -> Path:
    """`<stem>.png`, with a number where that was drawn with other settings, or nobody knows with which."""
    paths = (folder / f"{stem}{'' if number == 1 else f'-{number}'}.png" for number in count(1))
    return next(path for path in paths if not path.exists() or _settings(path) == settings)


def marked(settings: str) -> PngInfo:
    """What goes into the picture, so that `free_path` knows it again."""
    text = PngInfo()
    text.add_text(KEY, settings)
    return text


def _settings(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return str(image.info.get(KEY))
    except (OSError, ValueError, Image.DecompressionBombError):  # not a picture of ours
        return None
