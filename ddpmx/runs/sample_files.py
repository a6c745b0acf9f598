"""The files that `sample` writes, by their suffix, and the name it chooses without --out.

That name shows the settings, and a file of other settings is never overwritten.
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
"""Suffixes of `--out`; none is a folder of PNG files."""
OUT = "--out"
"""The option that errors name."""
KEY = "ddpmx-settings"
"""The PNG text entry that holds the digest of the settings."""
IMAGE_BLOCKS = ("dataset", "model", "schedule", "prediction", "sampler", "guidance")
"""The blocks of a spec that, together with the weights, determine the images."""


def check(out: Path) -> None:
    """Raise SpecError or RunError if `out` cannot be written, before any image is generated."""
    if out.suffix not in SUFFIXES:
        raise SpecError(
            f"the suffix should be .png, .npz, .gif, or none for a folder, not '{shortened(out.suffix)}'",
            field=OUT,
        )
    if out.suffix:
        outputs.check(out, OUT)
    else:
        outputs.check_folder(out, OUT, is_sample)


def write(out: Path, generated: Generated, labels: Tensor | None, settings: str) -> None:
    """Write the images in the format of the suffix; a GIF takes pixels [frames, n, c, h, w].

    `settings`, unless empty, is the digest to store in a PNG.
    """
    images = generated.pixels
    if out.suffix == ".gif":
        outputs.write(out, gif([class_grid(frame, labels) for frame in images]), OUT)
    elif out.suffix == ".png":
        entries = _png_entries(settings) if settings else None
        outputs.write(out, png(class_grid(images, labels), entries), OUT)
    elif out.suffix == ".npz":
        outputs.write(out, _arrays(generated, labels), OUT)
    else:
        with outputs.whole_folder(out, OUT, is_sample) as folder:
            for index, image in enumerate(images):
                save_png(image, folder / f"{index:06d}.png")


def _arrays(generated: Generated, labels: Tensor | None) -> bytes:
    """An npz file: `images` uint8 [n, h, w, c], `labels` with classes, `finite` if some are not."""
    arrays: dict[str, Any] = {"images": generated.pixels.permute(0, 2, 3, 1).numpy()}
    arrays |= {} if labels is None else {"labels": labels.numpy()}
    arrays |= {"finite": generated.finite.numpy()} if generated.problem else {}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def digest(spec: Spec, weights: Path, inputs: SamplingInputs | None, options: Mapping[str, object]) -> str:
    """A hash of all that determines the images: the spec, the weights' file, input images and `options`."""
    stat, resolved = weights.stat(), spec.resolved()
    settings = {
        "spec": {key: resolved[key] for key in IMAGE_BLOCKS},
        "precision": spec.train.precision,
        "weights": [str(weights.resolve()), stat.st_size, stat.st_mtime_ns],
        **options,
    }
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for tensor in () if inputs is None else (inputs.image, inputs.known, inputs.mask):
        sha.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def free_path(folder: Path, stem: str, settings: str) -> Path:
    """`<stem>.png`, or with a number appended if that file was made with other or unknown settings."""
    paths = (folder / f"{stem}{'' if number == 1 else f'-{number}'}.png" for number in count(1))
    return next(path for path in paths if not path.exists() or _settings(path) == settings)


def _png_entries(settings: str) -> PngInfo:
    """The text entry by which `free_path` recognizes a file's settings."""
    text = PngInfo()
    text.add_text(KEY, settings)
    return text


def _settings(path: Path) -> str | None:
    """The digest stored in a PNG; None if the file cannot be read as an image."""
    try:
        with Image.open(path) as image:
            return str(image.info.get(KEY))
    except (OSError, ValueError, Image.DecompressionBombError):  # not one of our files
        return None
