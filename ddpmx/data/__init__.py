"""Data sets, decoded once to bytes and kept in memory. Each module registers some; adding a file is enough.
May be imported by spec, training, metrics, storage, runs, claims, cli, api.
"""

from ..components.discovery import discover
from .base import Data, Dataset, Images

__all__ = ["Data", "Dataset", "Images"]

discover(__name__, __path__)
