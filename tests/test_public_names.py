"""The public names: none disappears, each keeps its kind, and a new one has to be added here."""

from __future__ import annotations

import inspect

import pytest

import ddpmx
from ddpmx.components.registry import Registry

PUBLIC = {
    "registry": {
        *("DATASETS", "METRICS", "MODELS", "OPTIMIZERS", "PREDICTIONS"),
        *("SAMPLERS", "SCHEDULES", "TIMES", "TRACKERS", "WEIGHTINGS"),
    },
    "class": {
        *(
            "Component",
            "ConditionalModel",
            "Dataset",
            "DynamicClip",
            "Metric",
            "Model",
            "Optimizer",
            "Picture",
            "Plan",
            "Prediction",
            "Row",
        ),
        *("Sampler", "Schedule", "Score", "Slot", "Subject", "Table", "Time", "Tracker", "Weighting"),
    },
    "error": {"DdpmxError", "RunError", "SpecError"},
    "function": {"guided", "sample", "slerp"},
    "module": {"ops"},
    "text": {"__version__"},
}
OPS = {
    "class": {"Purpose"},
    "function": {
        *(
            "active",
            "add_noise",
            "backends",
            "bits",
            "conv3x3",
            "depthwise",
            "fetch",
            "norm",
            "norm_conv3x3",
            "normal",
        ),
        *("reverse_step", "stream", "uniform", "use_backend", "weighted_loss"),
    },
    "names": {"NORMS"},
}
ADDED = {
    "class": {"Data", "Diffusion", "Ema", "Images", "Noise", "Run", "Spec"},
    "function": {"compare", "evaluate", "load", "load_spec", "run", "sweep", "train"},
    "registry": {"EMAS"},
}
"""Names that `ddpmx` has gained since the lists above were written, by kind."""

ADDED_OPS = {
    "class": {"AttentionParameters", "GroupNormParameters", "Noise"},
    "function": {"add_linear_attention", "group_norm", "silu_conv3x3"},
}

KINDS = {
    "registry": lambda value: isinstance(value, Registry),
    "class": lambda value: inspect.isclass(value) and not issubclass(value, Exception),
    "error": lambda value: inspect.isclass(value) and issubclass(value, ddpmx.DdpmxError),
    "function": inspect.isfunction,
    "module": inspect.ismodule,
    "names": lambda value: isinstance(value, tuple) and all(isinstance(name, str) for name in value),
    "text": lambda value: isinstance(value, str),
}


@pytest.mark.parametrize(
    ("module", "lists"), [(ddpmx, [PUBLIC, ADDED]), (ddpmx.ops, [OPS, ADDED_OPS])], ids=["ddpmx", "ops"]
)
def test_every_public_name_is_importable_and_of_its_kind(module, lists):
    listed = [(kind, name) for names_of in lists for kind, names in names_of.items() for name in names]
    assert sorted(name for _, name in listed) == sorted(module.__all__)
    assert [name for kind, name in listed if not KINDS[kind](getattr(module, name))] == []
