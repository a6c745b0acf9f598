"""Optimizers: each module of this package registers one; a new file here needs no other change.
May be imported by spec, training.
"""

from ..components.discovery import discover
from .base import Optimizer

__all__ = ["Optimizer"]

discover(__name__, __path__)
