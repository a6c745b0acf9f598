"""Self-contained HTML pages from templates: one file each, no network requests, light and dark."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ..errors import SpecError
from ..files import read_bytes
from ..terminal.time_left import duration as duration
from ..text import lines, number, shortened
from .svg import is_figure

LARGE_PNG = 100_000
"""Bytes above which an image is embedded as WebP instead."""
MAX_FIGURE = 2_000_000
"""Most bytes of an SVG file that is read."""
MAX_PNG = 100_000_000
"""Most bytes of a PNG file that is read."""
T = TypeVar("T")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class EmbeddedImage:
    """An image embedded in a page."""

    uri: str
    """A `data:` URI with the image's content."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    label: str
    """Alternative text."""


def render(template: str, **values: object) -> str:
    """Render a template of `templates/`; all values are escaped, including control characters.

    The page's content security policy allows only inline styles, embedded images, and its own script by hash.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    page = _environment().get_template(template)
    return lines(
        page.render(
            script=Markup(script),
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            policy=policy,
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ddpmx.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration}
    return environment


def embed_image(image: Image.Image, label: str) -> EmbeddedImage:
    """Embed an image as PNG, or as WebP of quality 90 if the PNG is large, as colour noise would be."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return _embed(file.getvalue(), image, label)


def embed_png(path: Path, label: str) -> EmbeddedImage | None:
    """Embed a PNG file like `embed_image`; None if it is missing, incomplete or not an image."""
    try:
        png = read_bytes(path, MAX_PNG)
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            return _embed(png, image, label)
    except (OSError, SpecError, Image.DecompressionBombError):  # Pillow's other errors are OSErrors
        return None


def _embed(png: bytes, image: Image.Image, label: str) -> EmbeddedImage:
    content, kind = png, "png"
    if len(png) > LARGE_PNG:
        file = io.BytesIO()
        image.save(file, format="WEBP", quality=90)
        content, kind = file.getvalue(), "webp"
    return EmbeddedImage(
        f"data:image/{kind};base64,{base64.b64encode(content).decode()}", image.width, image.height, label
    )


@dataclass(frozen=True)
class Figure:
    """A figure embedded in a page."""

    svg: Markup | str | None
    """The figure as SVG, or a text to show in its place."""
    caption: str
    """Text below the figure."""
    over: Mapping[str, Markup | None] = field(default_factory=dict)
    """The figure over other x axes, by the value of the page's control that shows it instead."""


@dataclass(frozen=True)
class Table:
    """A table of text."""

    columns: Sequence[str]
    """Headings."""
    rows: list[list[str]]
    """A cell for each column."""


def figure(svg: str, caption: str, over: Mapping[str, str] = MappingProxyType({})) -> Figure:
    """A figure that ddpmx plotted, with its caption, and the same over other x axes."""
    return Figure(inline_svg(svg), caption, {key: inline_svg(other) for key, other in over.items()})


def inline_svg(svg: str) -> Markup | None:
    """SVG that can be embedded safely.

    None unless the text is a complete figure like those that ddpmx plots.
    """
    return Markup(svg) if is_figure(svg) else None


def inline_svg_of(path: Path) -> Markup | None:
    """Like `inline_svg`, from a file; None also if it is missing or too large."""
    if not path.is_file() or path.stat().st_size > MAX_FIGURE:
        return None
    return inline_svg(path.read_text(encoding="utf-8", errors="replace"))


def check_suffix(out: Path, option: str) -> None:
    """Raise SpecError at `option` unless the file's name ends like that of an HTML page."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise SpecError(f"should end in .html, not '{shortened(out.name)}'", field=option)


def environment_facts(environment: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(name, value) of everything in environment.json, except the command, which a page shows elsewhere."""
    return facts({key: value for key, value in environment.items() if key != "command"})


def with_start(
    commands: Sequence[tuple[str, str]], environment: Mapping[str, object]
) -> list[tuple[str, str]]:
    """The (title, command) pairs, and the command that started the run, if it is recorded."""
    command = environment.get("command")
    return [*commands, ("This run was started with", str(command))] if command else [*commands]


def facts(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of everything in a JSON mapping, except empty values.

    A nested key is named `block key`.
    """
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from facts(value, f"{prefix}{key} ")
        elif value not in (None, [], ""):
            yield (
                prefix + key.replace("_", " "),
                ", ".join(map(str, value)) if isinstance(value, list) else number(value),
            )


def evenly(items: list[T], count: int) -> list[T]:
    """At most `count` evenly spaced items, including the first and the last."""
    count = min(len(items), count)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]
