"""Samplers: each module of this package registers a family. A new file here needs no other change.
May be imported by spec, training, metrics, storage, runs, exchange, testing, api.
"""

from ..components.discovery import discover
from .base import UNSET, Sampler, Solver
from .moments import Moments
from .path import Path, Point, points

__all__ = ["UNSET", "Moments", "Path", "Point", "Sampler", "Solver", "points"]

discover(__name__, __path__)
