"""Checks of a spec that need no data: finding fields that are valid alone but do not work together."""

from __future__ import annotations

import torch

from .. import ops
from ..emas.power import Power
from ..emas.profile import NARROWEST
from ..errors import Findings
from ..schedules import Table
from ..theory.variance import posterior
from ..weightings import checked_weights
from .evaluation import GuidanceSpec
from .schema import LossSpec, Spec


def check(spec: Spec) -> Table:
    """Run all checks that need no data. Returns the schedule's table; raises SpecError with every finding."""
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
                hint = "set model.learned_variance: true, or choose a fixed variance"
                raise spec.error(f"{field}.variance", "needs a network that learns the variance", hint=hint)
    if spec.train.ema is not None:
        with findings.collect(), spec.blame("train.ema"):
            spec.train.ema.decays(1)
    with findings.collect():
        check_weights(spec)
    with findings.collect():
        check_guidance(spec)
    for index, tracker in enumerate(spec.track):
        with findings.collect(), spec.blame(f"track.{index}"):
            tracker.check()
    with findings.collect(), spec.blame("backend"), ops.use_backend(spec.backend):
        pass  # entering the context raises SpecError if the backend is not built
    findings.report()
    assert table is not None  # otherwise `report` has raised
    return table


def check_weights(spec: Spec) -> None:
    """Raise SpecError for a rebuilt average, if the run keeps no snapshots to rebuild one from."""
    std = spec.weights.ema_std
    if std and std < NARROWEST:
        raise spec.error("weights.ema_std", f"should be 0, or from {NARROWEST:g} on, not {std:g}")
    if std and not isinstance(spec.train.ema, Power):
        message = f"an average of width {std:g} needs a training with snapshots"
        hint = "set train.ema: {name: power}; ema_std: null means the run's own average"
        raise spec.error("weights.ema_std", message, hint=hint)


def check_guidance(spec: Spec) -> None:
    """Raise SpecError for label dropout or guidance that the network's classes do not allow."""
    findings, hint = Findings(), "set model.classes: true"
    if not spec.model.conditional:
        with findings.collect():
            if spec.train.label_dropout is not None:
                message = "label dropout needs a class-conditional network"
                raise spec.error("train.label_dropout", message, hint=hint)
        with findings.collect():
            if spec.guidance != GuidanceSpec():
                message = "classifier-free guidance needs a class-conditional network"
                raise spec.error("guidance", message, hint=hint)
    elif spec.train.label_dropout == 0 and spec.guidance.weight != 1:
        with findings.collect():
            message = (
                "should be 1: with train.label_dropout 0 the network never learns to predict without a class"
            )
            raise spec.error("guidance.weight", message, hint="set train.label_dropout to 0.1, for example")
    findings.report()


def check_network(spec: Spec, table: Table) -> None:
    """Raise SpecError if the schedule or the loss does not suit a learned variance or self-conditioning."""
    model, weight = spec.model, spec.loss.variance_weight
    if model.learns_variance:
        with spec.blame("model.learned_variance"):
            posterior(table)
    elif weight != LossSpec().variance_weight:
        message = "needs a network that learns the variance"
        raise spec.error("loss.variance_weight", message, hint="set model.learned_variance: true")
    if model.learns_variance or model.self_conditioned:
        # x_0 = a·x_t + b·output, with a and b float64 [T] each
        a_and_b = torch.stack(spec.prediction.x0_from(table.signal, table.sigma))
        has_x0 = a_and_b.float().isfinite().all(0)  # [T]
        if not bool(has_x0.all()):
            index = int((~has_x0).nonzero()[0])
            field = "learned_variance" if model.learns_variance else "self_condition"
            message = f"needs x_0, which cannot be computed from the prediction at index {index}"
            raise spec.error(f"model.{field}", message, hint="set prediction: v")
