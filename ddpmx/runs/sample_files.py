"""The files that `sample` writes, by their suffix, and where it writes when none is named.

Such a name tells the settings, and images of other settings are never overwritten.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .. import outputs
from ..errors import SpecError
from ..images import class_grid, gif, is_sample, png, save_png
from ..sampling.editing import SamplingInputs
from ..spec.schema import Spec
from ..text import shortened
from .generate import Generated

SUFFIXES = (".png", ".npz", ".gif", "")
OUT = "--out"
KEY = "ddpmx-settings"
"""Of the digest in a picture's text."""
DECIDING = ("dataset", "model", "schedule", "prediction", "sampler", "guidance")
"""Blocks of a spec that decide what an image looks like, beside the weights."""


def check(out: Path) -> None:
    """Raises SpecError or RunError for what is in the way, before the images are generated."""
    if out.suffix not in SUFFIXES:
        raise SpecError(
            f"the suffix '{shortened(out.suffix)}' is not one of .png, .npz, .gif, or none for a folder",
            field=OUT,
        )
    if out.suffix:
        outputs.check(out, OUT)
    else:
        outputs.check_folder(out, OUT, is_sample)


def write(out: Path, generated: Generated, labels: Tensor | None, settings: str) -> None:
    """Write the images; a GIF of pixels [frames, n, c, h, w]. `settings`, if any, is the digest that a picture keeps."""
    images = generated.pixels
    if out.suffix == ".gif":
        outputs.write(out, gif([class_grid(frame, labels) for frame in images]), OUT)
    elif out.suffix == ".png":
        outputs.write(out, png(class_grid(images, labels), _marked(settings) if settings else None), OUT)
    elif out.suffix == ".npz":
        outputs.write(out, _arrays(generated, labels), OUT)
    else:
        with outputs.whole_folder(out, OUT, is_sample) as folder:
            for index, image in enumerate(images):
                save_png(image, folder / f"{index:06d}.png")


def _arrays(generated: Generated, labels: Tensor | None) -> bytes:
    """An npz file: `images` uint8 [n, h, w, c], `labels` where there are classes, `finite` where not all images are."""
    arrays: dict[str, Any] = {"images": generated.pixels.permute(0, 2, 3, 1).numpy()}
    arrays |= {} if labels is None else {"labels": labels.numpy()}
    arrays |= {"finite": generated.finite.numpy()} if generated.problem else {}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def digest(spec: Spec, weights: Path, given: SamplingInputs | None, options: Mapping[str, object]) -> str:
    """Equal where all settings are that decide the images: those of the spec, the weights' file, pictures, and `options`."""
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


def _marked(settings: str) -> PngInfo:
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
