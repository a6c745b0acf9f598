"""`state.json` of a checkpoint: its counters, and the SHA-256 of each of its files, of its own content too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..errors import RunError, SpecError
from ..files import open_regular, read_json, why
from ..training.events import OPEN, Count, told

STATE = "state.json"
UNSEALED = {"train", "optimizer"}
"""What a checkpoint of before there were checksums holds."""


@with_config(OPEN)
class Counters(TypedDict):
    """Those that tell which checkpoint it is."""

    step: Count
    best_step: NotRequired[Annotated[int, Field(ge=-1)]]


@with_config(OPEN)
class Content(TypedDict):
    """state.json"""

    train: Counters
    optimizer: dict[str, object]
    files: NotRequired[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")], str]]


@cache
def _adapter() -> TypeAdapter[Content]:
    return TypeAdapter(Content)


def write(folder: Path, content: Mapping[str, object]) -> None:
    """Seal what is in the folder: state.json with the content and all checksums."""
    body = {**content, "files": {file.name: _file_digest(file) for file in sorted(folder.iterdir())}}
    (folder / STATE).write_text(json.dumps({**body, "sha256": _digest(body)}, indent=1), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The content of state.json. Raises RunError that names it when it is damaged or not there."""
    file = folder / STATE
    try:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping")
        seal = content.pop("sha256", None)
        if content.keys() != UNSEALED and seal != _digest(content):
            raise ValueError("its checksum is another")
        _adapter().validate_python(content)
        step = content["train"]["step"]
        if re.fullmatch("[0-9]+", folder.name) and int(folder.name) != step:
            raise ValueError(f"it is of step {step}")
    except ValidationError as error:
        raise RunError(f"{file} is damaged: {told(error)}") from None
    except SpecError as error:
        raise RunError(f"{file} is damaged: {error}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error}") from None
    return content


def verify(folder: Path, name: str | None = None) -> None:
    """Raises RunError that names the first file, of all or only that one, whose content is not what was written."""
    for known, digest in read(folder).get("files", {}).items():
        if name in (None, known):
            file = folder / known
            try:
                actual = _file_digest(file)
            except (OSError, SpecError) as error:
                raise RunError(f"{file} is damaged: {why(error)}") from None
            if actual != digest:
                raise RunError(f"{file} is damaged: its checksum is another")


def _file_digest(file: Path) -> str:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
