"""Which plugins may run: the user's own do, and of those that a run's folder brings only what this machine has run on purpose.

A run's folder holds copies of its plugins, and may be a stranger's. Who owns it says nothing: what is unpacked belongs to the
one who unpacks it. What counts is that a spec file outside of any run, or `--allow-plugins`, has run the same content here
before: the folder `plugins/` of the cache has an empty file for each, named by its hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..files import cache_root
from . import loading as plugins
from .permission import Permission

SPEC, FACTS, REST = (
    "spec.yaml",
    ("status.json", "environment.json", "metrics.jsonl"),
    ("checkpoints", "log.csv"),
)
"""What a run's folder has: its spec beside anything else of it, or two of its facts under whatever name the spec has now."""

_known: set[str] = set()
PERMISSION = Permission()
"""What --allow-plugins grants: every plugin may run, and is known from then on."""


@dataclass(frozen=True)
class Plugin:
    """A plugin as a spec or a command names it, its code read but not run."""

    name: str
    """The path of a `.py` file, or a module."""
    content: bytes | None
    """Of a file, and of a module that is a single file outside of the environment: what was judged is what runs."""
    file: Path | None
    """Where the content is."""
    run: Path | None
    """The run's folder that it comes from, if any: its code may be a stranger's."""
    folders: tuple[Path, ...]
    """The user's own folders, in which its imports may find modules."""

    @property
    def may_run(self) -> bool:
        """Whether it is the user's own, was run here on purpose before, or is allowed by an option."""
        return self.run is None or PERMISSION.is_granted or self._is_known()

    def load(self) -> None:
        """Run it, and remember that. Raises SpecError where it fails."""
        for folder in map(str, self.folders):
            if folder not in sys.path:
                sys.path.append(folder)  # last: nothing that is installed is hidden
        if self.file is None or self.content is None:
            plugins.load_module(self.name)
        elif self.name.endswith(".py"):
            plugins.load_file(self.file, self.content)
        else:
            plugins.load_file(self.file, self.content, module=self.name)
        self._remember()

    @property
    def _key(self) -> str:
        if self.content is None:
            return "module-" + re.sub(r"[^\w.]", "_", self.name)[:200]
        return hashlib.sha256(self.content).hexdigest()

    def _is_known(self) -> bool:
        return self._key in _known or (cache_root() / "plugins" / self._key).exists()

    def _remember(self) -> None:
        key = self._key
        if key not in _known:
            _known.add(key)
            with suppress(
                OSError
            ):  # a cache that cannot be written remembers nothing: --allow-plugins is needed each time
                (cache_root() / "plugins").mkdir(parents=True, exist_ok=True)
                (cache_root() / "plugins" / key).touch()


def find(name: str, *named_in: Path, run: Path | None = None) -> Plugin:
    """The plugin of that name, which the files `named_in` name; the command line, where there are none.

    `run` is the run's folder whose own spec this is. Raises SpecError where its file cannot be read.
    """
    if name.endswith(".py"):
        path = Path(name)
        run = run or next(filter(None, map(run_around, (path, *named_in))), None)
        return Plugin(name, plugins.read(path), path, run, () if run else _own_folders(named_in))
    run = run or next(filter(None, map(run_around, named_in)), None)
    if _is_installed(name):
        return Plugin(name, None, None, run, () if run else _own_folders(named_in))
    top = name.split(".")[0]
    places = [*(() if run else _own_folders(named_in)), Path.cwd()] if top and os.sep not in top else []
    for folder in places:
        module = folder / top
        file = folder / f"{top}.py"
        if file.is_file() and "." not in name:
            run = run or run_around(file)
            return Plugin(name, plugins.read(file), file, run, () if run else (folder,))
        if module.is_dir() and run is None and run_around(module) is None:
            return Plugin(name, None, None, None, (folder,))
    return Plugin(name, None, None, run, ())


def run_around(path: Path) -> Path | None:
    """The run's folder in which a file or folder lies, by its name or by where links lead; None for one outside of all runs."""
    for place in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100  (the first follows no link)
        for folder in place.parents:
            plugins_of = (
                folder.parent if folder.name == "plugins" and os.path.lexists(folder.parent / SPEC) else None
            )
            if plugins_of is not None or _is_run(folder):
                return plugins_of or folder
    return None


def _is_run(folder: Path) -> bool:
    facts = sum(os.path.lexists(folder / name) for name in FACTS)
    if facts >= 2:
        return True
    return os.path.lexists(folder / SPEC) and (
        facts > 0 or any(os.path.lexists(folder / name) for name in REST)
    )


def _own_folders(named_in: tuple[Path, ...]) -> tuple[Path, ...]:
    """Those of the files, and the working folder where it is above them."""
    here = Path.cwd()
    folders = [file.resolve().parent for file in named_in]
    above = (
        [here]
        if any(folder.is_relative_to(here) for folder in folders) and run_around(here / "x") is None
        else []
    )
    return tuple(dict.fromkeys([*folders, *above]))


def _is_installed(module: str) -> bool:
    """Whether the environment has it; nothing is run to see that."""
    top = module.split(".")[0]
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ValueError, ImportError):  # not a module's name at all
        return False
