"""Noise schedules: each module of this package registers a family; a new file here needs no other change.
May be imported by models, samplers, times, weightings, theory, spec, sampling, training, testing, pages, runs, exchange.
"""

import importlib
import pkgutil

from .base import Schedule, Table, variance_preserving

__all__ = ["Schedule", "Table", "variance_preserving"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
