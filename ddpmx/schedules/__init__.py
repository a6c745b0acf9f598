"""Noise schedules: each module of this package registers a family. A new file here needs no other change.
May be imported by models, samplers, times, weightings, theory, objective, spec, sampling, training, metrics,
testing, pages, runs, exchange, claims, api.
"""

from ..components.discovery import discover
from .base import Schedule, Table, variance_preserving

__all__ = ["Schedule", "Table", "variance_preserving"]

discover(__name__, __path__)
