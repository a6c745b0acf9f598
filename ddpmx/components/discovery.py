"""Discovery of the built-in components of a kind, which are registered when their modules are imported."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable


def discover(package: str, path: Iterable[str]) -> None:
    """Import every module in a kind's package, so that adding a component takes no more than a new file."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
