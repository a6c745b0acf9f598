"""The data set that is a folder of image files."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field

from ..components.registry import DATASETS
from ..errors import SpecError
from ..files import why
from ..terminal.progress import track
from ..text import shortened
from .base import Images, Undecoded
from .decode import Channels, Decoder
from .divided import Decoded
from .layout import Layout, Reading, read_layout
from .stored import Stored, Survey

PREVIEWED = 256
"""Number of images of a large folder that `look` decodes."""


@DATASETS.register("image_folder")
class ImageFolder(Stored):
    """A folder of image files; its sub-folders are splits (train, validation, test) or classes.

    If there is a folder `train` (in upper or lower case), the folders `train`, `validation` and `test` are
    the splits. Otherwise all images are training images. If every image of a split is in one of two or more
    sub-folders, these are the classes. Hidden files and folders are skipped, and links are followed.
    """

    path: str
    """The folder, relative to the spec."""
    layout: Reading | None = None
    """What the sub-folders are: `splits` or `classes`; null: decided by their names, unless ambiguous."""
    size: int | None = Field(default=None, ge=8, le=4096)
    """Resize the shorter side to this and crop the centre; null: all images are square and of one size."""
    channels: Channels = None
    """1: grey, 3: RGB, null: grey if all images are grey."""
    flip: bool = False
    """Mirror half of the images left to right in training."""

    def survey(self, source: Path | None) -> Survey:
        """Survey by path, size and modification time, since reading the files is as slow as decoding them."""
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
        """Decode all images. Raises SpecError, which names the file, for one that cannot be used."""
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

    def preview(self, source: Path | None, survey: Survey) -> Decoded:
        """Decode some images, evenly spaced in each split, and return `Undecoded` images with all labels."""
        layout = survey.content
        assert isinstance(layout, Layout)
        decoder = Decoder(self.size, self.channels)
        for split, files in layout.files.items():
            count = max(1, PREVIEWED // len(layout.files))
            for file in files[:: -(-len(files) // count)]:
                decoder.add(split, str(file), file)
        shape = next(iter(decoder.stacks().values())).shape[1:]
        splits: dict[str, Images] = {
            split: Undecoded.of(len(files), shape, _labels(layout, split))
            for split, files in layout.files.items()
        }
        return Decoded(splits, layout.classes)


def _labels(layout: Layout, split: str) -> torch.Tensor | None:
    """The labels of a split, int64 [n], or None without classes."""
    if layout.classes is None:
        return None
    index = {name: k for k, name in enumerate(layout.classes)}
    return torch.tensor([index[layout.class_of(split, file)] for file in layout.files[split]])
