"""Which plugins the user of this machine has run on purpose: of the plugins that a run's folder brings, only these run unasked.

A run's folder holds copies of its plugins, and may be a stranger's. Who owns it says nothing: what is unpacked belongs to the
one who unpacks it. What counts is that a spec file, or `--allow-plugins`, has run the same content here before: the folder
`plugins/` of the cache has an empty file for each, named by its hash.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from .data import cache_root
from .plugins import file_hash

_known: set[str] = set()


def remember(plugin: str) -> None:
    """The user wants this plugin to run: a `.py` file with its present content, or a module by its name."""
    key = _key(plugin)
    if key not in _known:
        _known.add(key)
        with suppress(OSError):  # a cache that cannot be written remembers nothing: --allow-plugins is needed each time
            (cache_root() / "plugins").mkdir(parents=True, exist_ok=True)
            (cache_root() / "plugins" / key).touch()


def is_known(plugin: str) -> bool:
    """Whether `remember` had this very content before."""
    key = _key(plugin)
    return key in _known or (cache_root() / "plugins" / key).exists()


def _key(plugin: str) -> str:
    if not plugin.endswith(".py"):
        return "module-" + re.sub(r"[^\w.]", "_", plugin)[:200]
    return file_hash(Path(plugin))
