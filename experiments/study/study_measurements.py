"""What is measured after the sweeps: averages of a length chosen on validation images, the whole chain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from study_commands import ddpmx_each
from study_plan import Study, has_weights

from ddpmx.comparison.results import Run
from ddpmx.components.registry import METRICS, SAMPLERS
from ddpmx.spec.evaluation import WeightsSpec
from ddpmx.spec.over import evaluations
from ddpmx.spec.schema import Spec
from ddpmx.storage.measurement import Measurement

CHOICES = "ema.json"
"""The file with the chosen widths, by sweep and point, beside the sweeps."""
DECIDES = {"name": "fd_cnn", "reference": "validation"}
"""The metric that chooses the length."""
CHAIN_SAMPLES, CHAIN_SAMPLER = 1000, {"name": "ddpm", "steps": None}
CHAIN_METRIC = {"name": "fd_cnn", "reference": "train"}
"""How a run is measured with the whole chain, as the study sampled."""


@dataclass(frozen=True)
class Choice:
    """The average that a point is measured with."""

    std: float
    """Its relative width σ_rel."""
    means: Mapping[str, float]
    """The mean of the deciding metric over the seeds, by width."""
    seeds: tuple[int, ...]
    """The seeds."""


def with_average(spec: Spec, std: float) -> Spec:
    """The spec with the weights of an average of that width."""
    return spec.model_copy(update={"weights": WeightsSpec(checkpoint="last", ema_std=std)})


def full_chain(spec: Spec) -> Spec:
    """The spec, measured with images from every step of the chain."""
    sampler, metric = SAMPLERS.build("ddpm"), METRICS.build("fd_cnn", reference="train")
    changes = {"sampler": sampler, "samples": CHAIN_SAMPLES, "metrics": (metric,), "over": {}}
    return spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update=changes)})


def find(run: Run, wanted: Spec) -> dict[str, Measurement]:
    """The run's measurements that are those of a spec, by the name of the score."""
    evaluate, weights = wanted.evaluate, wanted.weights.model_dump()
    blocks = [_plain(metric.spec()) for metric in evaluate.metrics]
    return {
        measured.metric: measured
        for measured in (*run.own, *run.others)
        if (measured.samples, measured.seed) == (evaluate.samples, evaluate.seed)
        and dict(measured.weights) == weights
        and _plain(measured.sampler) == _plain(evaluate.sampler.spec())
        and _plain(measured.block) in blocks
    }


def is_measured(run: Run, wanted: Spec) -> bool:
    """Whether the run has all metrics of a spec."""
    found = {_plain(measured.block) for measured in find(run, wanted).values()}
    return found == {_plain(metric.spec()) for metric in wanted.evaluate.metrics}


def choose(specs: Sequence[Spec], runs: Sequence[Run]) -> Choice | None:
    """The width with the lowest mean over the seeds; None unless every seed was measured at each width.

    `specs` are those of one point, `runs` their runs in the same order.
    """
    scores: dict[float, list[float]] = {}
    for spec, run in zip(specs, runs, strict=True):
        for measured in evaluations(spec):
            std = measured.weights.ema_std
            block = next(iter(measured.evaluate.metrics)).spec()
            if std and all(block.get(key) == value for key, value in DECIDES.items()):
                values = [found.value for found in find(run, measured).values()]
                scores.setdefault(std, []).extend(values)
    if not scores or any(len(values) != len(specs) for values in scores.values()):
        return None
    means = {std: fmean(values) for std, values in sorted(scores.items())}
    best = min(means, key=means.__getitem__)
    return Choice(best, {f"{std:g}": mean for std, mean in means.items()}, tuple(spec.seed for spec in specs))


def choose_all(study: Study, runs: Mapping[str, Run]) -> dict[tuple[str, str], Choice]:
    """The choice for each (sweep, label) whose seeds all have a run with the measurements that it takes.

    There is none for the others.
    """
    chosen: dict[tuple[str, str], Choice] = {}
    for sweep, points in study.sweeps.items():
        for label, specs in points.items():
            of_point = [runs[spec.name] for spec in specs if spec.name in runs]
            choice = choose(specs, of_point) if len(of_point) == len(specs) else None
            if choice is not None:
                chosen[sweep, label] = choice
    return chosen


def write_choices(study: Study, choices: Mapping[tuple[str, str], Choice]) -> None:
    """Write the choices into the folder with the runs."""
    content: dict[str, dict[str, object]] = {sweep: {} for sweep in study.sweeps}
    for (sweep, label), choice in choices.items():
        content[sweep][label] = {"ema_std": choice.std, "means": choice.means, "seeds": choice.seeds}
    (study.out / CHOICES).write_text(json.dumps(content, indent=2) + "\n")


def measure_chosen(
    study: Study, runs: Mapping[str, Run], choices: Mapping[tuple[str, str], Choice], jobs: int
) -> list[str]:
    """Measure the spec's metrics with the chosen averages, of all runs that have no such measurement yet.

    Returns the messages of those that fail.
    """
    options: dict[Path, list[str]] = {}
    for (sweep, label), choice in choices.items():
        for spec in study.sweeps[sweep][label]:
            if not is_measured(runs[spec.name], with_average(spec, choice.std)):
                options[runs[spec.name].path] = ["--over", f"weights.ema_std={choice.std:g}"]
    return _measure("with the chosen average", options, jobs)


def measure_full_chain(study: Study, runs: Mapping[str, Run], jobs: int) -> list[str]:
    """Measure the first seed of each point with all steps of the chain.

    Returns the messages of those that fail.
    """
    settings = {"samples": CHAIN_SAMPLES, "metrics": [CHAIN_METRIC]}
    more = [part for key, value in settings.items() for part in ("-s", f"evaluate.{key}={json.dumps(value)}")]
    more += ["--over", f"evaluate.sampler={json.dumps(CHAIN_SAMPLER)}"]
    specs = [
        spec for name in study.sweeps for spec in study.specs(name, study.seeds[:1]) if spec.name in runs
    ]
    options = {
        runs[spec.name].path: more for spec in specs if not is_measured(runs[spec.name], full_chain(spec))
    }
    return _measure("with the whole chain", options, jobs)


def _measure(what: str, options: Mapping[Path, Sequence[str]], jobs: int) -> list[str]:
    """Measure the runs that have weights, each with its options; returns the messages of those that fail."""
    possible = {run: more for run, more in options.items() if has_weights(run)}
    if len(possible) < len(options):
        names = ", ".join(run.parent.name for run in options if run not in possible)
        print(f"note: not measured {what}, as the weights are on the machine that trained them: {names}")
    if possible:
        print(f"measuring {len(possible)} runs {what} …", flush=True)
    return ddpmx_each([["evaluate", str(run), *more] for run, more in possible.items()], jobs)


def _plain(value: object) -> str:
    """A value as JSON text, so that tuples equal lists."""
    return json.dumps(value, sort_keys=True)
