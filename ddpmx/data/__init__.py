"""Data sets, decoded once to bytes and kept in memory: each module registers some; a new file here needs no other change.
May be imported by spec, training, metrics, storage, runs, cli.
"""

import importlib
import pkgutil

from .base import Data, Dataset, Images

__all__ = ["Data", "Dataset", "Images"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
