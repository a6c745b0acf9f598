"""The lines of `evaluate`: a name, its value, and what has to be read beside it."""

from __future__ import annotations

from ddpmx.runs.evaluate import lines_of


def test_long_names_and_facts() -> None:
    event = {
        "samples": 500,
        "step": 9,
        "metrics": {"memorisation": 0.25, "fd_cnn": 4.0},
        "scores": {"memorisation": {"facts": {"training images": 1437}}, "fd_cnn": {}},
    }
    assert lines_of(event, settings=False) == [
        "memorisation 0.25   (500 samples, step 9, training images 1,437)",
        "fd_cnn       4   (500 samples, step 9)",
    ]
