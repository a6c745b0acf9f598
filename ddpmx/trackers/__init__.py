"""Trackers. Each module of this package registers one; adding a file here needs no other change.
May be imported by spec, storage, runs.
"""

from ..components.discovery import discover
from .base import CHANGES, Event, Tracker, TrackerSession, flattened, sample_grid_file, scalars
from .mirror import Trackers

__all__ = [
    "CHANGES",
    "Event",
    "Tracker",
    "TrackerSession",
    "Trackers",
    "flattened",
    "sample_grid_file",
    "scalars",
]

discover(__name__, __path__)
