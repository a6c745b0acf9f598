"""ddpmx: experiments with diffusion models.

The public names are loaded at their first use, so that importing ddpmx does not import torch. Below are its
packages and top-level modules. Imports point only downwards, and each package's docstring says who may import
it::

    cli, api
        -> sweeps
        -> claims
        -> comparison, exchange
        -> runs, testing
        -> pages
        -> storage
        -> metrics
        -> training
        -> spec, sampling, objective
        -> theory, data, models, samplers, optimizers, emas, trackers
        -> weightings, times
        -> schedules, predictions, ops
        -> components
        -> plugins
        -> terminal
        -> process
        -> outputs, images, world
        -> files, rows
        -> errors
        -> text, working_folder

`tests/test_layering.py` checks all imports against this tree.
"""

# No `from __future__ import …` here: like any import, it would load a file of that name from the working
# folder.
import sys

if sys.argv[:1] == ["-m"]:  # started as `python -m ddpmx`
    from .working_folder import take_off_the_path

    take_off_the_path()

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import ops as ops
    from .api.diffusion import Diffusion as Diffusion
    from .api.runs import Run as Run
    from .api.runs import load as load
    from .api.runs import run as run
    from .api.several import compare as compare
    from .api.several import evaluate as evaluate
    from .api.several import sweep as sweep
    from .api.specs import load_spec as load_spec
    from .api.training import train as train
    from .components.registry import DATASETS as DATASETS
    from .components.registry import EMAS as EMAS
    from .components.registry import METRICS as METRICS
    from .components.registry import MODELS as MODELS
    from .components.registry import OPTIMIZERS as OPTIMIZERS
    from .components.registry import PREDICTIONS as PREDICTIONS
    from .components.registry import SAMPLERS as SAMPLERS
    from .components.registry import SCHEDULES as SCHEDULES
    from .components.registry import TIMES as TIMES
    from .components.registry import TRACKERS as TRACKERS
    from .components.registry import WEIGHTINGS as WEIGHTINGS
    from .components.registry import Component as Component
    from .components.slot import Slot as Slot
    from .data import Data as Data
    from .data import Dataset as Dataset
    from .data import Images as Images
    from .emas import Ema as Ema
    from .errors import DdpmxError as DdpmxError
    from .errors import RunError as RunError
    from .errors import SpecError as SpecError
    from .images import Picture as Picture
    from .metrics import Metric as Metric
    from .metrics import Score as Score
    from .metrics import Subject as Subject
    from .models import ConditionalModel as ConditionalModel
    from .models import Model as Model
    from .ops import Noise as Noise
    from .optimizers import Optimizer as Optimizer
    from .predictions import Prediction as Prediction
    from .rows import DynamicClip as DynamicClip
    from .rows import Plan as Plan
    from .rows import Row as Row
    from .samplers import Sampler as Sampler
    from .sampling.editing import slerp as slerp
    from .sampling.guidance import guided as guided
    from .sampling.loop import sample as sample
    from .schedules import Schedule as Schedule
    from .schedules import Table as Table
    from .spec.schema import Spec as Spec
    from .times import Time as Time
    from .trackers import Tracker as Tracker
    from .weightings import Weighting as Weighting

__version__ = "0.1.0"

_HOMES = {
    "api.diffusion": ["Diffusion"],
    "api.runs": ["Run", "load", "run"],
    "api.several": ["compare", "evaluate", "sweep"],
    "api.specs": ["load_spec"],
    "api.training": ["train"],
    "spec.schema": ["Spec"],
    "components.registry": [
        *(
            "DATASETS",
            "EMAS",
            "METRICS",
            "MODELS",
            "OPTIMIZERS",
            "PREDICTIONS",
            "SAMPLERS",
            "SCHEDULES",
            "TIMES",
            "TRACKERS",
            "WEIGHTINGS",
        ),
        "Component",
    ],
    "components.slot": ["Slot"],
    "sampling.editing": ["slerp"],
    "errors": ["DdpmxError", "RunError", "SpecError"],
    "rows": ["DynamicClip", "Plan", "Row"],
    "sampling.loop": ["sample"],
    "schedules": ["Schedule", "Table"],
    "data": ["Data", "Dataset", "Images"],
    "emas": ["Ema"],
    "sampling.guidance": ["guided"],
    "images": ["Picture"],
    "metrics": ["Metric", "Score", "Subject"],
    "models": ["ConditionalModel", "Model"],
    "ops": ["Noise"],
    "optimizers": ["Optimizer"],
    "predictions": ["Prediction"],
    "samplers": ["Sampler"],
    "times": ["Time"],
    "trackers": ["Tracker"],
    "weightings": ["Weighting"],
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", "ops", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> object:
    if name == "ops":
        return importlib.import_module(".ops", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ddpmx' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
