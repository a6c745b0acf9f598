"""What the figures of docs/study.md show: our scores by question and point, and the source's own figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from study_measurements import CHOICES

from ddpmx.claims.found import KnownRuns
from ddpmx.claims.points import Point
from ddpmx.claims.recorded import NAME, read
from ddpmx.comparison.groups import Group, standings_of
from ddpmx.comparison.others import others_of
from ddpmx.pages.canvas import COLOURS
from ddpmx.theory.estimate import Estimate

HERE = Path(__file__).parent
MEASURE, AXIS = "fd_cnn", "Fréchet distance (fd_cnn)"
ORIGINAL, CORRECTED = COLOURS[1], COLOURS[0]


@dataclass(frozen=True)
class Question:
    """What one figure shows: a sweep with the study's settings, and its corrected twin."""

    title: str
    """The question."""
    sweeps: tuple[str, str]
    """Names of the two sweeps."""
    names: tuple[str, str]
    """What the legend calls them."""
    x_label: str
    """The x axis."""
    published: Mapping[str, tuple[float, float]]
    """FID of the source's networks by point: mean and deviation over ten draws of 100 images, one training
    each (github.com/GangaMegha/Diffusion-Models)."""


QUESTIONS = {
    "timesteps": Question(
        "Are longer chains better?",
        ("timesteps", "timesteps_rescaled"),
        ("the study's linear schedule", "β rescaled: each chain ends in noise"),
        "T, the number of noise levels",
        {
            "100": (323.6, 4.5),
            "200": (211.7, 8.1),
            "300": (144.2, 5.6),
            "400": (213.0, 6.9),
            "500": (148.3, 4.9),
        },
    ),
    "schedules": Question(
        "Does the schedule matter?",
        ("schedules", "schedules_equal"),
        ("the study's parameters", "each ends with the same signal"),
        "schedule, T = 300",
        {
            "linear": (144.2, 5.6),
            "quadratic": (178.5, 5.6),
            "cosine": (127.3, 6.2),
            "sigmoid": (127.8, 5.1),
        },
    ),
    "losses": Question(
        "Which loss is best?",
        ("losses", "losses_repeat"),
        ("the study's losses", "no infinite weight in vlb"),
        "loss, T = 500",
        {
            "l1": (125.9, 4.6),
            "l2": (117.7, 4.9),
            "huber": (148.3, 4.9),
            "vlb1": (102.9, 3.5),
            "vlb10": (257.9, 4.5),
            "vlb100": (434.6, 6.6),
        },
    ),
}


@dataclass(frozen=True)
class Series:
    """The scores of one sweep's points, with intervals, by the names at the ticks of the x axis."""

    name: str
    """What the legend calls it."""
    colour: str
    """A colour of matplotlib."""
    ticks: tuple[str, ...]
    """All points of the sweep, whether they have scores or not."""
    plain: Mapping[str, Estimate]
    """With plain weights."""
    averaged: Mapping[str, Estimate]
    """With the average whose length was chosen on validation images, where it was measured."""


def series_of(results: Path, question: Question) -> list[Series]:
    """The scores of both sweeps of a question, of points that have any."""
    found, runs = [], KnownRuns(results)
    for sweep, name, colour in zip(question.sweeps, question.names, (ORIGINAL, CORRECTED), strict=True):
        plain, averaged = dict[str, Estimate](), dict[str, Estimate]()
        points = runs.points(read(results / sweep / NAME))
        ticks = tuple(tick_of(point.label) for point in points)
        for tick, point in zip(ticks, points, strict=True):
            estimates = estimates_of(point, _width(results, sweep, point.label))
            plain |= {tick: estimates[0]} if estimates[0] else {}
            averaged |= {tick: estimates[1]} if estimates[1] else {}
        found.append(Series(name, colour, ticks, plain, averaged))
    return found


def tick_of(label: str) -> str:
    """A point's name at the x axis: of the sweeps of T only the number."""
    return label.removeprefix("timesteps_")


def _width(results: Path, sweep: str, label: str) -> float | None:
    """The length of the average that was chosen for a point; None until it is."""
    file = results / CHOICES
    chosen = json.loads(file.read_text())[sweep] if file.exists() else {}
    return float(chosen[label]["ema_std"]) if label in chosen else None


def estimates_of(point: Point, width: float | None) -> tuple[Estimate | None, Estimate | None]:
    """The score of a point with plain weights, and with an average; None where there is none."""
    runs = tuple(run for run in point.own if run.is_finished)
    standings = standings_of(runs) if runs else {}
    if MEASURE not in standings:
        return None, None
    others = others_of(Group(point.label, runs, {}, {}, standings))
    averages = [one.estimate for one in others if one.measure == MEASURE and _is_average(one.changes, width)]
    return standings[MEASURE].estimate, averages[0] if averages else None


def _is_average(changes: Mapping[str, object], width: float | None) -> bool:
    """Whether a measurement differs from the spec's own only in that it is of this average."""
    return width is not None and dict(changes) == {"weights.ema_std": width}
