"""Decides which SVG may be embedded in a page: only what ddpmx's own figures contain.

A run's folder may come from someone else, so its SVG files are not trusted.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

DARK_AND_LIGHT = ".ddpmx-figure{color:#30363c}@media(prefers-color-scheme:dark){.ddpmx-figure{color:#d3d8de}}"
"""The page's text colours, for figures."""
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
"""Elements of our figures, with their attributes.

Only a path has an id that `use` can refer to, so nested uses, which could grow exponentially, are impossible.
"""
DECLARATION = r"\s*(?:fill|stroke|font|opacity|text-anchor)[a-z-]*:[\w\s#.,%'-]*"
VALUES = {
    "class": re.compile("ddpmx-figure"),
    "id": re.compile(r"\w+"),
    "href": re.compile(r"#\w+"),
    "clip-path": re.compile(r"url\(#\w+\)"),
    "style": re.compile(rf"({DECLARATION}(;{DECLARATION})*;?\s*)?"),
}
"""Allowed values of the attributes that could do more than draw."""
SHEET = re.compile(rf"{re.escape(DARK_AND_LIGHT)}|\*\{{[a-z-]+: ?[a-z]+; ?[a-z-]+: ?[a-z]+\}}")
"""The only allowed style sheets: ours and matplotlib's."""


def is_figure(svg: str) -> bool:
    """Whether the text is a complete SVG with nothing that our figures don't contain.

    Comments, processing instructions and CDATA are refused: HTML, as which a page is parsed, ends them
    elsewhere than XML does.
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
    """The name without the namespace of SVG or XLink.

    Any other namespace stays, so that the name is unknown.
    """
    return next((name.removeprefix(space) for space in NAMESPACES if name.startswith(space)), name)
