"""Measurements with other settings than those of a run's own spec, together for the seeds of a group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..storage.measurement import Measurement
from ..storage.settings_words import settings_in_words
from ..theory.estimate import Estimate, mean_of_repeats, mean_over_seeds
from .groups import Group


@dataclass(frozen=True)
class Other:
    """A metric of a group, measured with other settings."""

    measure: str
    """The metric's name."""
    changes: Mapping[str, object]
    """The fields in which the settings deviate from the group's spec, with their values."""
    settings: str
    """The changes in words."""
    estimate: Estimate
    """The value of the one seed, or the mean over seeds, with its interval."""
    seeds: int
    """Number of training seeds measured so."""
    better: str
    """`lower` or `higher`."""
    samples: int
    """Number of generated images."""


def others_of(group: Group) -> list[Other]:
    """The measurements of a group's runs with other settings, in the order in which they were made."""
    found: dict[str, dict[int, list[Measurement]]] = {}
    for run in group.runs:
        for one in run.others:
            found.setdefault(one.key, {}).setdefault(run.seed, []).append(one)
    firsts = [next(iter(by_seed.values()))[0] for by_seed in found.values()]
    words = settings_in_words([first.changes for first in firsts])
    others = []
    for first, settings, by_seed in zip(firsts, words, found.values(), strict=True):
        estimates = [mean_of_repeats([_estimate(one) for one in same]) for same in by_seed.values()]
        mean, seeds = mean_over_seeds(estimates), len(by_seed)
        others.append(Other(first.metric, first.changes, settings, mean, seeds, first.better, first.samples))
    return others


def _estimate(measured: Measurement) -> Estimate:
    return Estimate.from_score(measured.value, measured.score or {})


def to_data(group: Group) -> list[dict[str, object]]:
    """A group's other measurements as JSON types: an entry for each setting, with all metrics measured so."""
    entries: dict[str, dict[str, object]] = {}
    measures: dict[str, dict[str, object]] = {}
    for one in others_of(group):
        key = json.dumps(sorted(one.changes.items()))
        entries.setdefault(key, {"settings": dict(one.changes), "measures": measures.setdefault(key, {})})
        low, high = one.estimate.interval or (None, None)
        measures[key][one.measure] = {
            "value": one.estimate.value,
            "low": low,
            "high": high,
            "seeds": one.seeds,
            "better": one.better,
            "n": one.samples,
        }
    return list(entries.values())
