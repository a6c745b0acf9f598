"""What of a spec cannot work, found before any data are read: fields that are valid alone but do not fit each
other."""

from __future__ import annotations

import torch

from .. import ops
from ..errors import Findings
from ..schedules import Table
from ..theory.variance import posterior
from ..weightings import checked_weights
from .schema import GuidanceSpec, LossSpec, Spec


def check(spec: Spec) -> Table:
    """Everything about a spec that needs no data: raises SpecError with each field that cannot work."""
    findings = Findings()
    table: Table | None = None
    with findings.collect(), spec.blame("schedule"):
        table = spec.schedule.table()
    if table is not None:
        with findings.collect(), spec.blame("loss.weighting", "prediction", "schedule"):
            checked_weights(spec.loss.weighting, table, spec.prediction)
        with findings.collect(), spec.blame("time", "schedule"):
            spec.time.draw(torch.zeros(1, dtype=torch.float64), table)
            spec.time.importance(table)
        for field, sampler in (("sampler", spec.sampler), ("evaluate.sampler", spec.evaluate.sampler)):
            with findings.collect(), spec.blame(field, "prediction", "schedule"):
                sampler.plan(table, spec.prediction)
        with findings.collect():
            check_network(spec, table)
    for field, sampler in (("sampler", spec.sampler), ("evaluate.sampler", spec.evaluate.sampler)):
        with findings.collect():
            if sampler.learns_variance and not spec.model.learns_variance:
                hint = "model.learned_variance: true lets it learn one"
                raise spec.error(f"{field}.variance", "the network tells no variance", hint=hint)
    with findings.collect():
        check_guidance(spec)
    for index, tracker in enumerate(spec.track):
        with findings.collect(), spec.blame(f"track.{index}"):
            tracker.check()
    with findings.collect(), spec.blame("backend"), ops.use_backend(spec.backend):
        pass  # entering it raises where that backend is not built
    findings.report()
    assert table is not None  # or it was reported
    return table


def check_guidance(spec: Spec) -> None:
    """Raises SpecError where a network without classes is to hide or follow them, or guidance lacks what it
    needs."""
    findings, hint = Findings(), "model.classes: true gives it some"
    if not spec.model.conditional:
        with findings.collect():
            if spec.train.label_dropout is not None:
                raise spec.error(
                    "train.label_dropout",
                    "the network is told no classes, so there is none to hide",
                    hint=hint,
                )
        with findings.collect():
            if spec.guidance != GuidanceSpec():
                raise spec.error(
                    "guidance", "the network is told no classes, so there is none to be guided to", hint=hint
                )
    elif spec.train.label_dropout == 0 and spec.guidance.weight != 1:
        with findings.collect():
            message = "should be 1, as with train.label_dropout 0 the network never learns what an image of no class is"
            raise spec.error("guidance.weight", message)
    findings.report()


def check_network(spec: Spec, table: Table) -> None:
    """Raises SpecError where the schedule and the loss do not suit what the network learns besides the
    prediction."""
    model, weight = spec.model, spec.loss.variance_weight
    if model.learns_variance:
        with spec.blame("model.learned_variance"):
            posterior(table)
    elif weight != LossSpec().variance_weight:
        message = "the network learns no variance, so there is none to weigh"
        raise spec.error("loss.variance_weight", message, hint="model.learned_variance: true")
    if model.learns_variance or model.self_conditioned:
        told = torch.stack(spec.prediction.x0_from(table.signal, table.sigma)).float().isfinite().all(0)
        if not bool(told.all()):
            index, field = (
                int((~told).nonzero()[0]),
                "learned_variance" if model.learns_variance else "self_condition",
            )
            message = f"needs x_0, which the prediction does not tell at index {index}"
            raise spec.error(f"model.{field}", message, hint="predict v")
