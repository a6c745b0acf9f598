"""Moving averages of the weights: each module of this package registers one, without any other change.
May be imported by spec, training, testing, storage, runs, cli.
"""

from ..components.discovery import discover
from .base import Ema

__all__ = ["Ema"]

discover(__name__, __path__)
