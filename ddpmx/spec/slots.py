"""The classes of the components in a spec, for type checkers and for completion in editors.

At run time they are all `object`. A slot checks a value against its registry instead, which imports a kind's
classes only when one is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data import Dataset as Dataset
    from ..emas import Ema as Ema
    from ..metrics import Metric as Metric
    from ..models import Model as Model
    from ..optimizers import Optimizer as Optimizer
    from ..predictions import Prediction as Prediction
    from ..samplers import Sampler as Sampler
    from ..schedules import Schedule as Schedule
    from ..times import Time as Time
    from ..trackers import Tracker as Tracker
    from ..weightings import Weighting as Weighting
else:
    Dataset = Ema = Metric = Model = Optimizer = Prediction = object
    Sampler = Schedule = Time = Tracker = Weighting = object
