"""Trackers: each module of this package registers one; a new file here needs no other change.
May be imported by spec, runs.
"""

from ..components.discovery import discover
from .base import Event, Session, Tracker, flattened, picture_file, scalars
from .mirror import Trackers

__all__ = ["Event", "Session", "Tracker", "Trackers", "flattened", "picture_file", "scalars"]

discover(__name__, __path__)
