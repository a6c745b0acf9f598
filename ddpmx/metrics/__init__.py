"""Metrics of models and of their images: each module registers some; a new file here needs no other change.
May be imported by spec, runs.
"""

import importlib
import pkgutil

from .base import Metric
from .score import Score
from .subject import Subject

__all__ = ["Metric", "Score", "Subject"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
