"""Self-contained HTML pages from the templates: one file that asks the network for nothing, dark or light as the reader's system is."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ..errors import SpecError
from ..files import read_bytes
from ..terminal.time_left import duration as duration
from ..text import lines, number, shortened
from .svg import is_figure

LARGE, LARGEST_FIGURE, LARGEST_PICTURE = 100_000, 2_000_000, 100_000_000  # bytes
T = TypeVar("T")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    uri: str
    width: int
    height: int
    label: str


def render(template: str, **values: object) -> str:
    """The page that a template of `templates/` makes of the values, all of them escaped, control characters too.

    The page's content security policy allows nothing but inline style, embedded images and our own script, by its hash.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template(template)
    return lines(
        page.render(
            script=Markup(script),
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'",
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


def picture(image: Image.Image, label: str) -> Picture:
    """An image as PNG, or as WebP of quality 90 where the PNG would be large, as noise in colour is."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return _picture(file.getvalue(), image, label)


def picture_of(path: Path, label: str) -> Picture | None:
    """The same of a PNG file; None where there is none, or half of one."""
    try:
        png = read_bytes(path, LARGEST_PICTURE)
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            return _picture(png, image, label)
    except (OSError, SpecError, Image.DecompressionBombError):  # Pillow's other errors are among the first
        return None


def _picture(png: bytes, image: Image.Image, label: str) -> Picture:
    content, kind = png, "png"
    if len(png) > LARGE:
        file = io.BytesIO()
        image.save(file, format="WEBP", quality=90)
        content, kind = file.getvalue(), "webp"
    return Picture(
        f"data:image/{kind};base64,{base64.b64encode(content).decode()}", image.width, image.height, label
    )


@dataclass(frozen=True)
class Figure:
    """A figure inside the page."""

    svg: Markup | str | None
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of text below their headings."""

    columns: Sequence[str]
    rows: list[list[str]]


def figure(svg: str, caption: str) -> Figure:
    """A figure of ours, with what a reader should know of it."""
    return Figure(inline_svg(svg), caption)


def inline_svg(svg: str) -> Markup | None:
    """A figure of ours as a part of the page; None for text that is not one, such as a file cut short or a stranger's."""
    return Markup(svg) if is_figure(svg) else None


def inline_svg_of(path: Path) -> Markup | None:
    """The same of a file."""
    if not path.is_file() or path.stat().st_size > LARGEST_FIGURE:
        return None
    return inline_svg(path.read_text(encoding="utf-8", errors="replace"))


def check_suffix(out: Path, option: str) -> None:
    """Raises SpecError, at the option that named it, for a file that no browser would take for a page."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise SpecError(f"should end in .html, not '{shortened(out.name)}'", field=option)


def environment_facts(environment: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What environment.json says, without the command, which stands elsewhere on a page."""
    return facts({key: value for key, value in environment.items() if key != "command"})


def with_start(
    commands: Sequence[tuple[str, str]], environment: Mapping[str, object]
) -> list[tuple[str, str]]:
    """(what, command) of what one does with a run, and of how it was started, where that is recorded."""
    command = environment.get("command")
    return [*commands, ("How it was started", str(command))] if command else [*commands]


def facts(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(what, value) of all that a JSON mapping says, blocks inside it as `block key`; what is empty is left out."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from facts(value, f"{prefix}{key} ")
        elif value not in (None, [], ""):
            yield (
                prefix + key.replace("_", " "),
                ", ".join(map(str, value)) if isinstance(value, list) else number(value),
            )


def evenly(items: list[T], count: int) -> list[T]:
    """At most `count` of them, both ends among them."""
    count = min(len(items), count)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]
