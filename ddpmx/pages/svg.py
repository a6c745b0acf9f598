"""Which SVG may stand in a page: only what our own figures are made of, since a run's folder may be a stranger's."""

from __future__ import annotations

import re
from xml.etree import ElementTree

DARK_AND_LIGHT = ".ddpmx-figure{color:#30363c}@media(prefers-color-scheme:dark){.ddpmx-figure{color:#d3d8de}}"
"""The page's ink, which figures follow."""
NAMESPACES = ("{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}")
ELEMENTS = {
    "svg": {"aria-label", "class", "height", "role", "version", "viewBox", "width"},
    "style": {"type"},
    "defs": set(),
    "g": {"clip-path"},
    "path": {"clip-path", "d", "id", "style"},
    "use": {"href", "style", "x", "y"},
    "text": {"style", "transform", "x", "y"},
    "clipPath": {"id"},
    "rect": {"height", "width", "x", "y"},
}
"""The elements of our figures, with their attributes. Only a path can be used again, so nothing grows by being used in turn."""
DECLARATION = r"\s*(?:fill|stroke|font|opacity|text-anchor)[a-z-]*:[\w\s#.,%'-]*"
VALUES = {
    "class": re.compile("ddpmx-figure"),
    "id": re.compile(r"\w+"),
    "href": re.compile(r"#\w+"),
    "clip-path": re.compile(r"url\(#\w+\)"),
    "style": re.compile(rf"({DECLARATION}(;{DECLARATION})*;?\s*)?"),
}
"""What those of their attributes are that could do more than draw."""
SHEET = re.compile(rf"{re.escape(DARK_AND_LIGHT)}|\*\{{[a-z-]+: ?[a-z]+; ?[a-z-]+: ?[a-z]+\}}")
"""Our style sheet, or matplotlib's."""


def is_figure(svg: str) -> bool:
    """Whether the text is one of our figures or as harmless; one cut short is not.

    A page is read as HTML, which ends comments, instructions and CDATA elsewhere than XML does: a text with any of them is none.
    """
    if not svg.startswith("<svg ") or "<!" in svg or "<?" in svg:
        return False
    try:
        return all(map(_is_ours, ElementTree.fromstring(svg).iter()))
    except ElementTree.ParseError:
        return False


def _is_ours(element: ElementTree.Element) -> bool:
    name, attributes = _local(element.tag), {_local(key): value for key, value in element.attrib.items()}
    if name not in ELEMENTS or not attributes.keys() <= ELEMENTS[name]:
        return False
    if name == "style" and (len(element) or not SHEET.fullmatch(element.text or "")):
        return False
    return all(VALUES[key].fullmatch(value) for key, value in attributes.items() if key in VALUES)


def _local(name: str) -> str:
    """Without the namespace of SVG or of links; any other stays and is unknown."""
    return next((name.removeprefix(space) for space in NAMESPACES if name.startswith(space)), name)
