"""Plugins that were edited after a run started: it is resumed with them only if the user allows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..plugins.loading import file_hash
from ..plugins.permission import Permission
from ..spec.schema import Spec
from ..storage.folder import RunFolder, copy_plugin
from ..terminal.console import warn

OPTION = "--allow-changed-plugins"
RECORD = "plugins_before"
"""The key of environment.json under which earlier versions of plugins are recorded."""

PERMISSION = Permission()
"""The permission that --allow-changed-plugins grants."""


@dataclass(frozen=True)
class Change:
    """A plugin file that was edited after the run started."""

    name: str
    """The file's name."""
    before: str
    """SHA-256 of the content that the run was made with."""
    now: str
    """SHA-256 of the present content."""

    def __str__(self) -> str:
        return f"{self.name} (was {self.before[:12]}, is now {self.now[:12]})"


def changes(spec: Spec, folder: RunFolder) -> list[Change] | None:
    """The plugin files whose content differs from the run's copies.

    None if the spec lists other plugins than the run, or lists them in another order.
    """
    old_plugins: list[str] = folder.spec_data().get("plugins", [])
    if len(old_plugins) != len(spec.plugins) or not all(map(_same_name, old_plugins, spec.plugins)):
        return None
    files = [
        (folder.path / old, Path(new))
        for old, new in zip(old_plugins, spec.plugins, strict=True)
        if new.endswith(".py")
    ]
    pairs = [Change(new.name, file_hash(old), file_hash(new)) for old, new in files]
    return [change for change in pairs if change.before != change.now]


def refuse(spec: Spec, folder: RunFolder) -> None:
    """Raise SpecError if plugins were edited since the run started, unless --allow-changed-plugins is set."""
    changed = changes(spec, folder)
    text = f"edited since the run {folder.path} started: {', '.join(map(str, changed or ()))}"
    if changed and PERMISSION.is_granted:
        warn(f"plugins {text}; resuming with the edited ones")
    elif changed:
        hint = f"add {OPTION} to resume with the edited ones, or omit --resume to start a new run"
        raise spec.error("plugins", text, hint=hint)


def renew(spec: Spec, folder: RunFolder, step: int) -> tuple[list[str], list[object]]:
    """Copy edited plugins into the run's folder.

    Returns the plugins for the run's spec.yaml and the record of all changes so far.
    """
    written = folder.environment().get(RECORD)
    record: list[object] = list(written) if isinstance(written, list) else []
    changed = changes(spec, folder)
    if not changed:
        plugins: list[str] = folder.spec_data()["plugins"]
        return plugins, record
    record += [{"plugin": change.name, "sha256": change.before, "until_step": step} for change in changed]
    return [copy_plugin(plugin, folder.path) for plugin in spec.plugins], record


def _same_name(old: str, new: str) -> bool:
    """Whether a run's copy was made of a plugin of that name; later copies have a hash appended."""
    if not new.endswith(".py"):
        return old == new
    return re.fullmatch(re.escape(Path(new).stem) + "(_[0-9a-f]{8})?", Path(old).stem) is not None
