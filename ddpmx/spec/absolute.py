"""Making the paths of a spec absolute, each by the place where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Mark, SpecError
from ..files import expanded, resolved
from .source import KeyPath, Source, value_at
from .yaml_source import refuse_unprintable


def make_absolute(source: Source) -> None:
    """Make all paths absolute: relative to the file that has them, or to the working folder in overrides."""
    trackers = source.data.get("track")
    evaluate = source.data.get("evaluate")
    metrics = evaluate.get("metrics") if isinstance(evaluate, dict) else None
    fields: list[KeyPath] = [("dataset", "path"), ("train", "init_from")]
    fields += [
        ("evaluate", "metrics", i, "weights") for i in range(len(metrics) if isinstance(metrics, list) else 0)
    ]
    fields += [("track", i, "path") for i in range(len(trackers) if isinstance(trackers, list) else 0)]
    for field in fields:
        block, key = value_at(source.data, field[:-1]), field[-1]
        if isinstance(block, dict) and isinstance(block.get(key), str):
            mark = source.mark(field)
            # a mark without a line is that of an override, or of a Python value
            folder = Path(mark.file).parent if mark is not None and mark.line else Path.cwd()
            with at(field, mark):
                block[key] = str(resolved(folder / expanded(block[key])))
                refuse_unprintable(block[key], mark or Mark("spec"))  # a run's spec.yaml could not hold it
    names = source.data.get("plugins")
    if isinstance(names, list):  # only paths from overrides are still relative
        with at(("plugins",), source.mark(("plugins",))):
            source.data["plugins"] = [absolute_plugin(name, Path.cwd()) for name in names]


def absolute_plugin(name: object, folder: Path) -> object:
    """The absolute path of a plugin's file; a module, and anything that is not a name, unchanged."""
    return str(resolved(folder / expanded(name))) if isinstance(name, str) and name.endswith(".py") else name


@contextmanager
def at(path: KeyPath, mark: Mark | None) -> Iterator[None]:
    """A context that gives a SpecError that field and position."""
    try:
        yield
    except SpecError as error:
        raise error.at(".".join(map(str, path)), mark) from None
