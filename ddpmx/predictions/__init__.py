"""What the network predicts: each module of this package registers some; a new file here needs no other change.
May be imported by samplers, weightings, theory, spec, training, testing, pages, exchange.
"""

import importlib
import pkgutil

from .base import Prediction, as_prediction

__all__ = ["Prediction", "as_prediction"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
