"""Metrics of models and of their images; a new file here needs no other change.

Each metric lives in a module with its registered name, followed by an underscore if that is a Python keyword
(`kid` in `kid.py`, `is` in `is_.py`). The other modules hold what several metrics share.
May be imported by spec, runs.
"""

from ..components.discovery import discover
from .base import Metric
from .score import Score
from .subject import Subject

__all__ = ["Metric", "Score", "Subject"]

discover(__name__, __path__)
