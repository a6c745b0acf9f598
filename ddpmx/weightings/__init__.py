"""Loss weightings: each module of this package registers a family. A new file here needs no other change.
May be imported by theory, objective, spec, training, testing, pages, api.
"""

from ..components.discovery import discover
from .base import Weighting, checked_weights

__all__ = ["Weighting", "checked_weights"]

discover(__name__, __path__)
