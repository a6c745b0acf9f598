"""Time distributions: each module of this package registers a family; a new file here needs no other change.
May be imported by theory, spec, training, testing, storage, pages.
"""

from ..components.discovery import discover
from .base import Time, TimeState, Uneven

__all__ = ["Time", "TimeState", "Uneven"]

discover(__name__, __path__)
