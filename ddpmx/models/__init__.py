"""Networks. Each module of this package registers one; adding a file here needs no other change.
May be imported by objective, spec, training, pages, runs, exchange, api.
"""

from ..components.discovery import discover
from .base import ConditionalModel, Model
from .embedding import TimeInput, embed_time

__all__ = ["ConditionalModel", "Model", "TimeInput", "embed_time"]

discover(__name__, __path__)
