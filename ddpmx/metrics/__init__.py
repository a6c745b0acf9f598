"""Metrics of models and of their images: each module registers some; a new file here needs no other change.
May be imported by spec, runs.
"""

from ..components.discovery import discover
from .base import Metric
from .score import Score
from .subject import Subject

__all__ = ["Metric", "Score", "Subject"]

discover(__name__, __path__)
