"""Metrics of models and of their images, one module per metric; a new file here needs no other change.
May be imported by spec, runs.

A metric's module has the metric's registered name, followed by an underscore if that is a Python keyword
(`kid` in `kid.py`, `is` in `is_.py`). The other modules contain what several metrics share.
"""

from ..components.discovery import discover
from .base import Metric
from .score import Score
from .subject import Subject

__all__ = ["Metric", "Score", "Subject"]

discover(__name__, __path__)
