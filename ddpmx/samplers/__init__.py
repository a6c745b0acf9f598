"""Samplers: each module of this package registers a family; a new file here needs no other change.
May be imported by spec, runs, exchange, testing.
"""

import importlib
import pkgutil

from .base import OWN, Sampler, Solver
from .path import Path, Point, points

__all__ = ["OWN", "Path", "Point", "Sampler", "Solver", "points"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
