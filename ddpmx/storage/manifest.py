"""A checkpoint's `state.json`: its counters, and SHA-256 checksums of the other files and of itself."""

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
from ..training.events import OPEN, Count, first_problem

STATE = "state.json"
UNSEALED = {"train", "optimizer"}
"""Keys in checkpoints of early versions, which had no checksums."""


@with_config(OPEN)
class Counters(TypedDict):
    """The counters that identify a checkpoint."""

    step: Count
    """The step after which it was saved."""
    best_step: NotRequired[Annotated[int, Field(ge=-1)]]
    """The step of the best checkpoint so far; −1 if there is none."""


@with_config(OPEN)
class Content(TypedDict):
    """The content of state.json, without its own checksum."""

    train: Counters
    """The counters of `TrainState`."""
    optimizer: dict[str, object]
    """Values of the optimizer's state that are not tensors."""
    files: NotRequired[dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")], str]]
    """SHA-256 of each other file, by name."""


@cache
def _adapter() -> TypeAdapter[Content]:
    return TypeAdapter(Content)


def write(folder: Path, content: Mapping[str, object]) -> None:
    """Write state.json with the content and the checksums of all files in the folder."""
    body = {**content, "files": {file.name: _file_digest(file) for file in sorted(folder.iterdir())}}
    (folder / STATE).write_text(json.dumps({**body, "sha256": _digest(body)}, indent=1), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The content of state.json. Raises RunError with its path if it is damaged or missing."""
    file = folder / STATE
    try:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError("it does not contain a mapping")
        seal = content.pop("sha256", None)
        if content.keys() != UNSEALED and seal != _digest(content):
            raise ValueError("its checksum does not match")
        _adapter().validate_python(content)
        step = content["train"]["step"]
        if re.fullmatch("[0-9]+", folder.name) and int(folder.name) != step:
            raise ValueError(f"it belongs to step {step}")
    except ValidationError as error:
        raise RunError(f"{file} is damaged: {first_problem(error)}") from None
    except SpecError as error:
        raise RunError(f"{file} is damaged: {error}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error}") from None
    return content


def verify(folder: Path, name: str | None = None) -> None:
    """Compare all files, or only `name`, with their checksums.

    Raises RunError naming the first that differs.
    """
    for recorded, digest in read(folder).get("files", {}).items():
        if name in (None, recorded):
            file = folder / recorded
            try:
                actual = _file_digest(file)
            except (OSError, SpecError) as error:
                raise RunError(f"{file} is damaged: {why(error)}") from None
            if actual != digest:
                raise RunError(f"{file} is damaged: its checksum does not match")


def _file_digest(file: Path) -> str:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _digest(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
