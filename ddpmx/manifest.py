"""`state.json` of a checkpoint: its counters, and the SHA-256 of each of its files, of its own content too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import RunError

STATE = "state.json"
UNSEALED = {"train", "optimizer"}
"""What a checkpoint of before there were checksums holds."""


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Seal what is in the folder: state.json with the content and all checksums."""
    body = {**content, "files": {file.name: _file_digest(file) for file in sorted(folder.iterdir())}}
    (folder / STATE).write_text(json.dumps({**body, "sha256": _digest(body)}, indent=1), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The content of state.json. Raises RunError that names it when it is damaged or not there."""
    file = folder / STATE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping")
        seal = content.pop("sha256", None)
        if content.keys() != UNSEALED and seal != _digest(content):
            raise ValueError("its checksum is another")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {_reason(error)}") from None
    return content


def verify(folder: Path, name: str | None = None) -> None:
    """Raises RunError that names the first file, of all or only that one, whose content is not what was written."""
    for known, digest in read(folder).get("files", {}).items():
        if name in (None, known):
            file = folder / known
            try:
                actual = _file_digest(file)
            except OSError as error:
                raise RunError(f"{file} is damaged: {_reason(error)}") from None
            if actual != digest:
                raise RunError(f"{file} is damaged: its checksum is another")


def _file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
