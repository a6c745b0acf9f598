"""Plugins that were edited after a run was made: it is resumed with them only where the user says so."""

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
"""Where environment.json has the earlier content of plugins."""

PERMISSION = Permission()
"""What --allow-changed-plugins grants."""


@dataclass(frozen=True)
class Change:
    """A plugin's file whose content is not what a run was made with: SHA-256 of both."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} (it was {self.before[:12]}, and is {self.now[:12]})"


def changes(spec: Spec, folder: RunFolder) -> list[Change] | None:
    """The files that differ, where the run has the spec's plugins by their names and order; None where it has others."""
    had: list[str] = folder.spec_data().get("plugins", [])
    if len(had) != len(spec.plugins) or not all(map(_are_one, had, spec.plugins)):
        return None
    files = [
        (folder.path / old, Path(new))
        for old, new in zip(had, spec.plugins, strict=True)
        if new.endswith(".py")
    ]
    found = [Change(new.name, file_hash(old), file_hash(new)) for old, new in files]
    return [change for change in found if change.before != change.now]


def refuse(spec: Spec, folder: RunFolder) -> None:
    """Raises SpecError for plugins that were edited since the run was made, unless --allow-changed-plugins is given."""
    changed = changes(spec, folder)
    text = f"changed since the run {folder.path} was made: {', '.join(map(str, changed or ()))}"
    if changed and PERMISSION.is_granted:
        warn(f"plugins {text}; it is resumed with them")
    elif changed:
        hint = f"{OPTION} resumes it with them; without --resume a new run starts"
        raise spec.error("plugins", text, hint=hint)


def renew(spec: Spec, folder: RunFolder, step: int) -> tuple[list[str], list[object]]:
    """The plugins for the run's spec.yaml, changed ones copied into its folder, and the record of all changes so far."""
    written = folder.environment().get(RECORD)
    record: list[object] = list(written) if isinstance(written, list) else []
    changed = changes(spec, folder)
    if not changed:
        had: list[str] = folder.spec_data()["plugins"]
        return had, record
    record += [{"plugin": change.name, "sha256": change.before, "until_step": step} for change in changed]
    return [copy_plugin(plugin, folder.path) for plugin in spec.plugins], record


def _are_one(old: str, new: str) -> bool:
    """Whether a run's copy and a plugin have the same name; a second copy has a hash behind it."""
    if not new.endswith(".py"):
        return old == new
    return re.fullmatch(re.escape(Path(new).stem) + "(_[0-9a-f]{8})?", Path(old).stem) is not None
