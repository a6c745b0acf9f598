"""Loss weightings: each module of this package registers a family; a new file here needs no other change.
May be imported by theory, spec, training, testing, pages.
"""

import importlib
import pkgutil

from .base import Weighting, checked_weights

__all__ = ["Weighting", "checked_weights"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
