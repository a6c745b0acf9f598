"""Time distributions: each module of this package registers a family. A new file here needs no other change.
May be imported by theory, objective, spec, training, testing, storage, pages, api.
"""

from ..components.discovery import discover
from .base import NonUniform, Time, TimeState

__all__ = ["NonUniform", "Time", "TimeState"]

Uneven = NonUniform  # its former name, which plugins may import

discover(__name__, __path__)
