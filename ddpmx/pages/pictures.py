"""The pictures beside scores, for a run's report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..storage import pictures
from ..storage.measurement import LatestMeasurements
from ..storage.settings_words import settings_in_words
from .page import EmbeddedImage, embed_image


@dataclass(frozen=True)
class Row:
    """Images side by side."""

    images: list[EmbeddedImage]
    """From left to right."""
    label: str
    """Text below them."""


@dataclass(frozen=True)
class ShownPicture:
    """A picture as a page shows it."""

    title: str
    """The score's name, and the settings that it was measured with if they are not those of the spec."""
    caption: str
    """Text above the rows."""
    rows: list[Row]
    """From top to bottom."""


def shown_pictures(run: Path, latest: LatestMeasurements) -> Iterator[ShownPicture]:
    """A picture of each score: from the measurement with the run's own settings, or the last other one.

    Those whose files are missing or damaged are left out.
    """
    newest = {one.metric: one for one in latest.others.values() if one.picture is not None}
    newest |= {name: one for name, one in latest.own.items() if one.picture is not None}
    for one in newest.values():
        if one.picture is None or not (rows := pictures.read(run, one.picture)):
            continue
        (settings,) = settings_in_words([one.changes])
        columns, labels = one.picture["columns"], one.picture["labels"]
        shown = [
            Row([embed_image(tile, what) for tile, what in zip(row, columns, strict=True)], label)
            for row, label in zip(rows, labels, strict=True)
        ]
        yield ShownPicture(
            f"{one.metric}, {settings}" if settings else one.metric, one.picture["caption"], shown
        )
