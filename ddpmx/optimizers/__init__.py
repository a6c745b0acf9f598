"""Optimizers: each module of this package registers one; a new file here needs no other change.
May be imported by spec, training.
"""

import importlib
import pkgutil

from .base import Optimizer

__all__ = ["Optimizer"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
