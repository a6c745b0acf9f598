"""Measurements of trained networks that differ from one another in one block of their settings alone.

All settings share the networks, and the halves or images behind the intervals. What is said about settings is
said about these networks: intervals and tests have the images' part of the noise, but not that of another
training.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..storage import draws
from ..storage.measurement import Measurement
from ..theory.differences import Difference, Family
from ..theory.estimate import Estimate, VarianceComponent, with_interval
from ..theory.scores import Draws, SpecScores

SAMPLER, EMA = "evaluate.sampler", "weights.ema_std"
"""The blocks that may vary."""
MOST_POINTS = 64
"""Most settings that are tested against the best one; the test's critical values cost seconds for more."""


@dataclass(frozen=True)
class Network:
    """A trained network and what was measured of it."""

    seed: int
    """The training seed."""
    run: Path
    """The run's folder."""
    data: str
    """Fingerprint or name of the run's data."""
    measurements: Sequence[Measurement]
    """The last one with each setting."""


@dataclass(frozen=True)
class Point:
    """A metric with one setting, of one network or as the mean over the networks of several seeds."""

    setting: object
    """The sampler's block, or the EMA length."""
    estimate: Estimate
    """The value, with an interval for these networks."""
    measurements: tuple[Measurement, ...]
    """One for each seed."""
    to_best: Difference | None = None
    """Difference to the best point; None for the best, and where there was no test."""

    @property
    def is_near(self) -> bool | None:
        """Whether it is within noise of the best point; None if that is not known."""
        if self.to_best is None or self.to_best.interval is None:
            return None
        return not self.to_best.is_significant


@dataclass(frozen=True)
class Varied:
    """A metric of the same networks with several settings of one block."""

    block: str
    """SAMPLER or EMA."""
    metric: str
    """The score's name."""
    seeds: tuple[int, ...]
    """The training seeds of the networks."""
    best: int
    """Index of the best point."""
    points: tuple[Point, ...]
    """At least two."""

    @property
    def better(self) -> str:
        """`lower` or `higher`."""
        return self.points[0].measurements[0].better

    @property
    def networks(self) -> str:
        """How many networks were measured, in words."""
        count = len(self.seeds)
        return "one trained network" if count == 1 else f"the trained networks of {count} seeds"

    @property
    def untested(self) -> str:
        """Why no point is known to be within noise of the best, in words."""
        if len(self.points) > MOST_POINTS:
            return f"more than {MOST_POINTS} settings are not tested against each other"
        return "without intervals, nothing is known about noise"

    @property
    def shared(self) -> Measurement:
        """A measurement that stands for what all of them share."""
        return self.points[0].measurements[0]


@dataclass
class _Measured:
    """Measurements by seed and setting (as JSON), with the run that each is of."""

    by_seed: dict[int, dict[str, tuple[Measurement, Path]]] = field(default_factory=lambda: defaultdict(dict))


def varied(networks: Sequence[Network], block: str) -> list[Varied]:
    """What the networks' metrics are with each setting of the block, all else equal.

    A metric occurs several times if it was measured with several other settings, such as numbers of images.
    """
    tables: dict[str, _Measured] = defaultdict(_Measured)
    for network in networks:
        for key, measured in _split(network, block).items():
            by_setting = tables[key].by_seed[network.seed]
            by_setting |= {_text(_setting(one, block)): (one, network.run) for one in measured}
    return [found for table in tables.values() for found in _varied(table, block)]


def _setting(measured: Measurement, block: str) -> object:
    return measured.sampler if block == SAMPLER else measured.weights.get("ema_std")


def _split(network: Network, block: str) -> dict[str, list[Measurement]]:
    """A network's measurements by everything but the block, as text.

    Of measurements at several training steps, those of the step with the most of them count: weights of
    another step are another network. An EMA length is of the end of training, and so is compared with the
    average and the weights of the last step that were measured.
    """
    by_rest: dict[str, dict[int, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    for measured in network.measurements:
        details: Mapping[str, object] = measured.score or {}
        rest = {
            "metric": [measured.metric, details.get("metric")],
            "with": [measured.samples, measured.seed, measured.guidance, measured.data or network.data],
            "against": [details.get(key) for key in ("split", "extractor", "preprocessing")],
            "other": measured.weights.get("ema_std") if block == SAMPLER else measured.sampler,
        }
        by_rest[_text(rest)][measured.step].append(measured)
    if block == SAMPLER:
        return {
            rest: max(by_step.items(), key=lambda item: (len(item[1]), item[0]))[1]
            for rest, by_step in by_rest.items()
        }
    return {
        rest: list(
            {_text(_setting(one, block)): one for step in sorted(by_step) for one in by_step[step]}.values()
        )
        for rest, by_step in by_rest.items()
    }


def _varied(table: _Measured, block: str) -> Iterator[Varied]:
    """The points of the seeds that have all settings of the seed with the most; nothing if that is one."""
    settings = max(table.by_seed.values(), key=len).keys()
    seeds = [seed for seed, measured in table.by_seed.items() if measured.keys() >= settings]
    if len(settings) < 2:
        return
    columns = [[table.by_seed[seed][setting] for seed in seeds] for setting in settings]
    scores = [_scores(column, seeds).of_networks for column in columns]
    points = [_point(column, each, block) for column, each in zip(columns, scores, strict=True)]
    sign = 1 if points[0].measurements[0].better == "lower" else -1
    best = min(range(len(points)), key=lambda index: sign * points[index].estimate.value)
    if len(points) <= MOST_POINTS:
        family = Family(scores)
        points = [
            point if index == best else replace(point, to_best=family.difference(index, best))
            for index, point in enumerate(points)
        ]
    yield Varied(block, points[0].measurements[0].metric, tuple(seeds), best, tuple(points))


def _point(column: Sequence[tuple[Measurement, Path]], scores: SpecScores, block: str) -> Point:
    measured = tuple(one for one, _ in column)
    estimate = _estimate(measured[0])
    if len(measured) > 1:
        own = scores.own_variance
        freedom = math.inf if scores.draws is None else scores.draws.values.shape[1] - 1
        parts = () if own is None else (VarianceComponent(own, freedom),)
        estimate = with_interval(scores.mean, parts) if parts else Estimate(scores.mean)
    return Point(_setting(measured[0], block), estimate, measured)


def _estimate(measured: Measurement) -> Estimate:
    return Estimate.from_score(measured.value, measured.score or {})


def _scores(column: Sequence[tuple[Measurement, Path]], seeds: Sequence[int]) -> SpecScores:
    """The scores of all seeds with one setting, and the draws behind them where all have such draws."""
    own = [part.variance for one, _ in column for part in _estimate(one).variances]
    found = [draws.read_score(run, one.draws, one.metric, one.step) for one, run in column]
    kept = [each for each in found if each is not None]
    alike = len(kept) == len(column) and len({(each.kind, len(each.values), each.of) for each in kept}) == 1
    return SpecScores(
        tuple(seeds),
        tuple(one.value for one, _ in column),
        Draws(
            "halves" if kept[0].kind == "halves" else "images",
            np.stack([each.values for each in kept]),
            kept[0].of,
        )
        if alike
        else None,
        float(np.mean(own)) if len(own) == len(column) else None,
    )


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
