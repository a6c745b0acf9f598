"""How specs differ: the fields, their values as text, and unique labels."""

from __future__ import annotations

from ddpmx.comparison.fields import differing, labels, texts


def test_another_component_counts_as_one_difference():
    specs = [
        {
            "schedule": {"name": "linear", "timesteps": 100, "beta_end": 0.02},
            "loss": {"norm": "l2", "weighting": {"name": "vlb", "clip": 1.0}},
        },
        {
            "schedule": {"name": "cosine", "timesteps": 500, "s": 0.008},
            "loss": {"norm": "l2", "weighting": {"name": "vlb", "clip": 10.0}},
        },
        {
            "schedule": {"name": "linear", "timesteps": 500, "beta_end": 0.02},
            "loss": {"norm": "l1", "weighting": {"name": "vlb", "clip": 1.0}},
        },
    ]
    assert differing(specs) == ("schedule", "loss.weighting.clip", "loss.norm")
    assert texts([spec["schedule"] for spec in specs]) == [
        "linear (timesteps 100)",
        "cosine",
        "linear (timesteps 500)",
    ]


def test_a_block_that_one_lacks_counts_as_one_difference():
    specs = [
        {"train": {"ema": {"decay": 0.99, "warmup": True}}},
        {"train": {"ema": None}},
        {"train": {"ema": {"decay": 0.9, "warmup": True}}},
    ]
    assert differing(specs) == ("train.ema",)
    assert texts([spec["train"]["ema"] for spec in specs]) == ["decay 0.99", "null", "decay 0.9"]


def test_labels_are_unique():
    names = [{"a"}, {"a"}, {"b"}, {"c", "d"}]
    assert labels(names, {"train.lr": ["0.1", "0.2", "0.3", "0.4"]}) == ["lr=0.1", "lr=0.2", "b", "lr=0.4"]
    assert labels([{"a"}, {"a"}], {"x": ["same", "same"]}) == ["x=same", "x=same (2)"]
