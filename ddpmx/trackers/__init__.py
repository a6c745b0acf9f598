"""Trackers: each module of this package registers one; a new file here needs no other change.
May be imported by spec, runs.
"""

import importlib
import pkgutil

from .base import Event, Session, Tracker, flattened, picture_file, scalars
from .mirror import Trackers

__all__ = ["Event", "Session", "Tracker", "Trackers", "flattened", "picture_file", "scalars"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
