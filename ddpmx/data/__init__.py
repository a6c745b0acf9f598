"""Data sets, decoded once to bytes and kept in memory: each module registers some; a new file here needs no other change.
May be imported by spec, training, metrics, storage, runs, cli.
"""

from ..components.discovery import discover
from .base import Data, Dataset, Images

__all__ = ["Data", "Dataset", "Images"]

discover(__name__, __path__)
