"""The measure by which a sweep's specs are settled: known, and comparable, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SpecError, nearest
from ..spec.schema import Spec
from ..spec.slots import Metric
from ..storage.provenance import PresentData

VAL_LOSS = "val_loss"
OBJECTIVE = ("prediction", "schedule", "loss", "evaluate.seed")
"""Fields that define what the validation loss measures."""


def measure_of(name: str | None, specs: Sequence[Spec]) -> str:
    """The measure of that name, or that of the first metric of the first spec.

    Raises SpecError if there is no such measure, or if it would not be comparable between the specs.
    """
    known = {score: metric for metric in specs[0].evaluate.metrics for score in metric.names_of_scores()}
    measure = next(iter(known), None) if name is None else name
    if measure is None:
        hint = "`evaluate.metrics`, or --measure val_loss"
        raise SpecError("the specs have no metric to be settled by", field="--measure", hint=hint)
    metric = known.get(measure) or _with_own_names(measure, specs[0])
    if metric is None and measure != VAL_LOSS:
        text = f"the specs do not measure '{measure}'"
        raise SpecError(text, field="--measure", hint=nearest(measure, [*known, VAL_LOSS]))
    for spec in specs[1:]:
        _check_data(measure, specs[0], spec)
        if metric is None:
            _check_fields(measure, specs[0], spec, OBJECTIVE)
        else:
            _check_metric(measure, metric, specs[0], spec)
    if metric is not None and (why := metric.missing()):
        raise SpecError(f"{measure} cannot be measured: {why}", field="--measure")
    return measure


def _with_own_names(measure: str, spec: Spec) -> Metric | None:
    """The metric whose score this can be: a plugin's may have any name that begins with the metric's."""
    metrics = [
        metric for metric in spec.evaluate.metrics if metric.names_of_scores() == (metric.component_name,)
    ]
    return next((metric for metric in metrics if measure.startswith(metric.component_name)), None)


def _check_metric(measure: str, metric: Metric, first: Spec, spec: Spec) -> None:
    name = metric.component_name
    same = [other for other in spec.evaluate.metrics if other.component_name == name]
    if not same:
        raise spec.error("evaluate.metrics", f"{spec.name} does not measure {measure}, as {first.name} does")
    if same[0].model_dump() != metric.model_dump():
        raise _not_comparable(measure, "evaluate.metrics", first, spec, f"'{name}' has other parameters")
    if metric.needs_images:
        _check_fields(measure, first, spec, ("evaluate.samples",))


def _check_data(measure: str, first: Spec, spec: Spec) -> None:
    if spec.resolved()["dataset"] == first.resolved()["dataset"]:
        return
    present = PresentData()
    if present.load(spec).fingerprint != present.load(first).fingerprint:
        raise _not_comparable(measure, "dataset", first, spec, "their data differ")


def _check_fields(measure: str, first: Spec, spec: Spec, fields: Sequence[str]) -> None:
    for field in fields:
        here, there = (_value(one, field) for one in (spec, first))
        if here != there:
            shown = [f"{value:,}" if isinstance(value, int) else "" for value in (here, there)]
            what = f"{shown[0]}, not {shown[1]}" if all(shown) else "the values differ"
            raise _not_comparable(measure, field, first, spec, what)


def _value(spec: Spec, field: str) -> object:
    value: object = spec.resolved()
    for key in field.split("."):
        value = value[key] if isinstance(value, dict) else None
    return value


def _not_comparable(measure: str, field: str, first: Spec, spec: Spec, why: str) -> SpecError:
    return spec.error(field, f"{measure} of {spec.name} and {first.name} would not be comparable: {why}")
