"""Finding the built-in components of a kind: they are registered when their modules are imported."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable


def discover(package: str, path: Iterable[str]) -> None:
    """Import every module in a kind's package, so that a new file there needs no other change."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
