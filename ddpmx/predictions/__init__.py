"""Predictions: each module of this package registers some. A new file here needs no other change.
May be imported by samplers, sampling, weightings, theory, objective, spec, training, testing, pages,
exchange, api.
"""

from ..components.discovery import discover
from .base import Prediction, as_prediction

__all__ = ["Prediction", "as_prediction"]

discover(__name__, __path__)
