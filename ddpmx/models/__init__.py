"""Networks: each module of this package registers one; a new file here needs no other change.
May be imported by spec, training, pages, runs, exchange.
"""

import importlib
import pkgutil

from .base import ConditionalModel, Model
from .embedding import TimeInput, embed_time

__all__ = ["ConditionalModel", "Model", "TimeInput", "embed_time"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
