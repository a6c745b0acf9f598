"""Optimizers, one module or family of them each; adding a file here needs no other change.
May be imported by spec, training.

`eager.py` has torch's own optimizers, without the import of torch.compile.
"""

from ..components.discovery import discover
from .base import Optimizer

__all__ = ["Optimizer"]

discover(__name__, __path__)
