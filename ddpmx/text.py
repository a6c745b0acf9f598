"""Text that comes from outside, made safe to show: no control characters, no more than a line of it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence

_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
MOST_SHOWN = 200
"""Characters of somebody's input that a message repeats."""
LONGEST_LINE, MOST_LINES = 1_000, 200
"""Of a whole message, whatever it repeats."""


def visible(text: str) -> str:
    """`text` on one line: control characters, line ends, lone surrogates and bidirectional marks as `\\x1b`, `\\n`, …"""
    return re.sub(_CONTROL, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """`visible`, and with its middle left out where it is longer than `most` characters."""
    if len(text) > 2 * most:  # escaping makes text longer, never shorter
        text = f"{text[:most]}…{text[-most:]}"
    text = visible(text)
    head = most * 2 // 3
    return text if len(text) <= most else f"{text[:head]}…{text[-(most - head - 1) :]}"


def lines(text: str) -> str:
    """`visible` line by line: for a message of several lines that repeats names from outside."""
    return "\n".join(map(visible, text.split("\n")))


def message(text: str) -> str:
    """`lines`, none of them longer than LONGEST_LINE characters, and no more than MOST_LINES."""
    found = text.split("\n")
    left_out = [f"… and {len(found) - MOST_LINES} more lines"] if len(found) > MOST_LINES else []
    return "\n".join([*(shortened(line, LONGEST_LINE) for line in found[:MOST_LINES]), *left_out])


def shell_line(command: Iterable[str]) -> str:
    """The command as one line for bash, which gets back the very words: those with control characters as `$'\\x1b'`."""
    return " ".join(shlex.quote(word) if visible(word) == word else _ansi_quoted(word) for word in command)


def _ansi_quoted(word: str) -> str:
    plain = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f"$'{''.join(plain)}'"


def json_text(text: str) -> str:
    """JSON whose strings hold as `\\u009b` what `visible` would escape: the same data, safe to show."""
    return re.sub(_CONTROL, lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def listed(names: Sequence[str], most: int) -> str:
    """`a, b and c`; of more than `most` names their first, and how many others."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} others")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def number(value: object) -> str:
    """Four digits, thousands apart: 0.04833, 12.35, 2,996,315. What is no number stays as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
