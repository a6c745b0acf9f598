"""A folder of image files."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field

from ..components.registry import DATASETS
from ..errors import SpecError
from ..files import why
from ..terminal.progress import track
from ..text import shortened
from .base import Images, Unseen
from .decode import Channels, Decoder
from .layout import Layout, Reading, read_layout
from .stored import Decoded, Stored, Survey

SAMPLED = 256
"""Images of a large folder that `look` decodes."""


@DATASETS.register("image_folder")
class ImageFolder(Stored):
    """A folder of image files; its sub-folders are splits (train, validation, test) or classes.

    With a folder `train` (in any case), splits are the folders `train`, `validation` and `test`; otherwise all images train.
    Where every image of a split lies in one of two or more sub-folders, these are the classes. Hidden files and folders are
    left out, links are followed.
    """

    path: str
    """The folder, relative to the spec."""
    layout: Reading | None = None
    """What sub-folders are: `splits` or `classes`; null: by their names, and an error where these can be read in two ways."""
    size: int | None = Field(default=None, ge=8, le=4096)
    """Resize the shorter side to this many pixels and cut out the centre; null: the images are square and of one size already."""
    channels: Channels = None
    """1: grey, 3: RGB, null: grey if all images are"""
    flip: bool = False
    """Mirror half of the images left to right in training."""

    def survey(self, source: Path | None) -> Survey:
        """Path, size and time of change of each file: reading a large folder whole would take as long as decoding it."""
        assert source is not None  # `path` is required
        layout = read_layout(source, self.layout)
        stats = []
        for split, files in layout.files.items():
            for file in files:
                try:
                    status = file.stat()
                except OSError as error:
                    raise SpecError(
                        f"{shortened(str(file))} cannot be read: {why(error)}", field="path"
                    ) from None
                stats.append((split, str(file), status.st_size, status.st_mtime_ns))
        key = [self.size, self.channels, layout.classes, stats]
        return Survey(key, len(stats), sum(size for _, _, size, _ in stats), layout.left_out, layout)

    def decode(self, source: Path | None, survey: Survey) -> Decoded:
        """All images. Raises SpecError that names the file that can't be used."""
        layout = survey.content
        assert isinstance(layout, Layout)
        decoder = Decoder(self.size, self.channels)
        for split, files in layout.files.items():
            for file in track(files, f"Decoding the {split} images"):
                decoder.add(split, str(file), file)
        return Decoded(
            {split: Images(pixels, _labels(layout, split)) for split, pixels in decoder.stacks().items()},
            layout.classes,
        )

    def sample(self, source: Path | None, survey: Survey) -> Decoded:
        """All labels, and some images of each split, evenly chosen."""
        layout = survey.content
        assert isinstance(layout, Layout)
        decoder = Decoder(self.size, self.channels)
        for split, files in layout.files.items():
            most = max(1, SAMPLED // len(layout.files))
            for file in files[:: -(-len(files) // most)]:
                decoder.add(split, str(file), file)
        shape = next(iter(decoder.stacks().values())).shape[1:]
        found: dict[str, Images] = {
            split: Unseen.of(len(files), shape, _labels(layout, split))
            for split, files in layout.files.items()
        }
        return Decoded(found, layout.classes)


def _labels(layout: Layout, split: str) -> torch.Tensor | None:
    """int64 [n], or None where there are no classes."""
    if layout.classes is None:
        return None
    index = {name: k for k, name in enumerate(layout.classes)}
    return torch.tensor([index[layout.class_of(split, file)] for file in layout.files[split]])
