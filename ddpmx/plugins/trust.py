"""Deciding which plugins may run: the user's own, and those of run folders that the user has run before.

A run folder has copies of its plugins and may come from a stranger. Its owner proves nothing, since an
unpacked archive belongs to whoever unpacks it. A plugin is trusted if the same content has been run here
before, from a spec file outside of any run folder or with `--allow-plugins`. The folder `plugins/` of the
cache remembers that with an empty file for each content, named by its hash.
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
"""The files that identify a run folder: its spec and any other, or, if that was renamed, two of FACTS."""

_known: set[str] = set()
"""Keys of the plugins that this process has run."""
PERMISSION = Permission()
"""The permission of --allow-plugins: every plugin may run, and is trusted from then on."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that a spec or a command names. Its code has been read, but not run."""

    name: str
    """The path of a `.py` file, or the name of a module."""
    content: bytes | None
    """The code of a file, or of a single-file module that is not installed. What was judged is what runs."""
    file: Path | None
    """The file that the content was read from."""
    run: Path | None
    """The run folder that the plugin comes from, if any; its code may be a stranger's."""
    folders: tuple[Path, ...]
    """The user's own folders from which the plugin may import modules."""

    @property
    def may_run(self) -> bool:
        """Whether the plugin is the user's own, was run here on purpose before, or is allowed by an
        option."""
        return self.run is None or PERMISSION.is_granted or self._is_known()

    def load(self) -> None:
        """Run the plugin and remember that it has been run. Raises SpecError if it fails."""
        for folder in map(str, self.folders):
            if folder not in sys.path:
                sys.path.append(folder)  # last, so that it hides no installed module
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
            # If the cache cannot be written, --allow-plugins is needed each time.
            with suppress(OSError):
                (cache_root() / "plugins").mkdir(parents=True, exist_ok=True)
                (cache_root() / "plugins" / key).touch()


def find(name: str, *named_in: Path, run: Path | None = None) -> Plugin:
    """Find a plugin without running it.

    `named_in` are the files that name it, none if the command line does. `run` is the run folder whose own
    spec names it, if any. Raises SpecError if its file cannot be read.
    """
    if name.endswith(".py"):
        path = Path(name)
        run = run or next(filter(None, map(run_around, (path, *named_in))), None)
        return Plugin(name, plugins.read(path), path, run, () if run else _own_folders(named_in))
    run = run or next(filter(None, map(run_around, named_in)), None)
    if _is_installed(name):
        return Plugin(name, None, None, run, () if run else _own_folders(named_in))
    top = name.split(".")[0]
    folders = [*(() if run else _own_folders(named_in)), Path.cwd()] if top and os.sep not in top else []
    for folder in folders:
        module = folder / top
        file = folder / f"{top}.py"
        if file.is_file() and "." not in name:
            run = run or run_around(file)
            return Plugin(name, plugins.read(file), file, run, () if run else (folder,))
        if module.is_dir() and run is None and run_around(module) is None:
            return Plugin(name, None, None, None, (folder,))
    return Plugin(name, None, None, run, ())


def run_around(path: Path) -> Path | None:
    """The run folder that a path lies in, as written or with links resolved; None if it lies in none."""
    for location in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100  (the first follows no link)
        for folder in location.parents:
            if folder.name == "plugins" and os.path.lexists(folder.parent / SPEC):
                return folder.parent
            if _is_run(folder):
                return folder
    return None


def _is_run(folder: Path) -> bool:
    facts = sum(os.path.lexists(folder / name) for name in FACTS)
    if facts >= 2:
        return True
    return os.path.lexists(folder / SPEC) and (
        facts > 0 or any(os.path.lexists(folder / name) for name in REST)
    )


def _own_folders(named_in: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders of the files, and the working folder if it contains one of them and is in no run folder."""
    here = Path.cwd()
    folders = [file.resolve().parent for file in named_in]
    above = (
        [here]
        if any(folder.is_relative_to(here) for folder in folders) and run_around(here / "x") is None
        else []
    )
    return tuple(dict.fromkeys([*folders, *above]))


def _is_installed(module: str) -> bool:
    """Whether the environment has a module. Finding out runs no code."""
    top = module.split(".")[0]
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ValueError, ImportError):  # not a valid module name
        return False
