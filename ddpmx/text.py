"""Values as text, and text from outside made safe to show: no control characters, and a limited length."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
MOST_SHOWN = 200
"""Characters of a piece of input that a message repeats."""
LONGEST_LINE, MOST_LINES = 1_000, 200
"""Limits of a whole message."""


def visible(text: str) -> str:
    """The text on one line: control characters, line ends, lone surrogates and text directions escaped.

    They appear as `\\x1b`, `\\n` and so on.
    """
    return re.sub(_CONTROL, lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """`visible` text, without its middle if it is longer than `most` characters."""
    if len(text) > 2 * most:  # escaping makes text longer, never shorter
        text = f"{text[:most]}…{text[-most:]}"
    text = visible(text)
    head = most * 2 // 3
    return text if len(text) <= most else f"{text[:head]}…{text[-(most - head - 1) :]}"


def lines(text: str) -> str:
    """Each line made `visible`, for a message of several lines that contains names from outside."""
    return "\n".join(map(visible, text.split("\n")))


def message(text: str) -> str:
    """The text made `visible`, with at most MOST_LINES lines of at most LONGEST_LINE characters."""
    parts = text.split("\n")
    more = [f"… and {len(parts) - MOST_LINES} more lines"] if len(parts) > MOST_LINES else []
    return "\n".join([*(shortened(line, LONGEST_LINE) for line in parts[:MOST_LINES]), *more])


def shell_line(command: Iterable[str]) -> str:
    """A command as one line that bash splits into the same words; control characters appear as in
    `$'\\x1b'`."""
    return " ".join(shlex.quote(word) if visible(word) == word else _ansi_quoted(word) for word in command)


def _ansi_quoted(word: str) -> str:
    plain = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"


def json_text(text: str) -> str:
    """JSON with the characters that `visible` escapes written as `\\u009b` and so on: the same data, safe to
    show."""
    return re.sub(_CONTROL, lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def listed(names: Sequence[str], most: int) -> str:
    """Names as a phrase: `a, b and c`. After `most` names, only the number of the others."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} others")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def number(value: object) -> str:
    """A number to four digits, with commas: 0.04833, 12.35, 2,996,315. Other values are unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def facts_in_words(facts: Mapping[str, object]) -> str:
    """Facts to read beside a score, such as `training images 1,437`; empty if there are none."""
    return ", ".join(f"{name} {number(value)}" for name, value in facts.items())


def floor_compares(score: Mapping[str, object]) -> bool:
    """Whether the floor of a stored score is comparable with its value, of another number of images."""
    return score.get("floor_n") == score.get("n") or score.get("depends_on_n") is False


def floor_in_words(score: Mapping[str, object]) -> str:
    """The floor of a stored score, with its images, and that it does not compare with the value if so."""
    if score.get("floor") is None:
        return ""
    split = f" {score['floor_split']} images" if score.get("floor_split") else ""
    about = f"n {number(score.get('floor_n', 0))}{split}"
    if not floor_compares(score):
        about += f": does not compare with the value, of n {number(score.get('n'))}"
    return f"{number(score['floor'])} ({about})"


def setting(value: object, others: Sequence[object] = ()) -> str:
    """A value of a spec, as text.

    For a component, its name and the parameters in which `others` of that name differ.
    """
    if isinstance(value, list):
        return ", ".join(setting(item) for item in value) or "none"
    if not isinstance(value, Mapping):
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    alike = [
        other for other in others if isinstance(other, Mapping) and other.get("name") == value.get("name")
    ]
    distinctive = {
        key: item
        for key, item in value.items()
        if key != "name" and any(other.get(key) != item for other in alike)
    }
    inside = ", ".join(f"{key} {setting(item)}" for key, item in distinctive.items())
    name = str(value.get("name", ""))
    return f"{name} ({inside})" if name and inside else name or inside
