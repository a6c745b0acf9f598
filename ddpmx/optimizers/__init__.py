"""Optimizers. Each module of this package registers one; adding a file here needs no other change.
May be imported by spec, training.
"""

from ..components.discovery import discover
from .base import Optimizer

__all__ = ["Optimizer"]

discover(__name__, __path__)
