"""Schedules, predictions and samplers as diffusers' scheduler configurations, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from ..errors import SpecError
from ..predictions import Prediction
from ..samplers.ddim import DDIM
from ..samplers.ddpm import DDPM
from ..schedules import Table
from ..spec.schema import Spec
from ..text import shortened
from .configs import SchedulerConfig, typed

PREDICTIONS = {"epsilon": "epsilon", "x_start": "sample", "v": "v_prediction"}
VARIANCES = {"posterior": "fixed_small", "beta": "fixed_large"}
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear"}
SPACINGS = ("leading", "linspace", "trailing")
BETA_MAX = 0.999
"""The largest β of diffusers' squaredcos_cap_v2."""


@dataclass(frozen=True)
class DiffusersPipeline:
    """A pipeline of diffusers that generates the same images as a spec's sampler."""

    kind: str
    """The name of its class."""
    scheduler: dict[str, object]
    """Its scheduler's configuration."""
    arguments: dict[str, object]
    """The arguments of its call."""


def to_scheduler(spec: Spec, table: Table) -> DiffusersPipeline:
    """The pipeline for a spec's sampler. Raises SpecError at a field that diffusers has no equivalent of."""
    sampler = spec.sampler
    if type(sampler) is not DDPM and type(sampler) is not DDIM:
        raise _no_equivalent(
            "sampler.name",
            f"the sampler '{sampler.component_name}'",
            "`-s sampler=ddim` or `-s sampler=ddpm` can be exported",
        )
    if not table.is_variance_preserving:
        raise _no_equivalent(
            "schedule.name",
            f"the schedule '{spec.schedule.component_name}'",
            "its schedules are variance-preserving: signal² + sigma² = 1",
        )
    name = spec.prediction.component_name
    if name not in PREDICTIONS:
        raise _no_equivalent(
            "prediction", f"the prediction '{name}'", f"can be exported: {', '.join(PREDICTIONS)}"
        )
    if spec.model.conditional:
        raise _no_equivalent(
            "model.classes", "a class-conditional network in a pipeline of unconditional images", ""
        )
    indices = _indices(spec, table, spec.prediction)
    config = {
        "num_train_timesteps": table.timesteps,
        "trained_betas": table.beta.tolist(),
        "prediction_type": PREDICTIONS[name],
        "clip_sample": sampler.clip is not None,
        "clip_sample_range": 1.0 if sampler.clip is None else sampler.clip,
        "thresholding": False,
        "timestep_spacing": "trailing" if sampler.grid == "all" else sampler.grid,
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,  # trained_betas already have it
    }
    if isinstance(sampler, DDPM):
        return _ddpm(sampler, config, indices)
    return _ddim(sampler, config, indices, table.timesteps)


def _ddpm(sampler: DDPM, config: dict[str, object], indices: list[float]) -> DiffusersPipeline:
    if sampler.variance not in VARIANCES:
        raise _no_equivalent(
            "sampler.variance",
            f"the variance '{sampler.variance}'",
            f"can be exported: {', '.join(VARIANCES)}",
        )
    if indices[-1] > 0 and sampler.variance == "beta":
        raise _no_equivalent(
            "sampler.variance",
            "a last step without noise that starts above index 0",
            "use the variance posterior or the grid leading",
        )
    config |= {"_class_name": "DDPMScheduler", "variance_type": VARIANCES[sampler.variance]}
    return DiffusersPipeline("DDPMPipeline", config, {"num_inference_steps": len(indices)})


def _ddim(
    sampler: DDIM, config: dict[str, object], indices: list[float], timesteps: int
) -> DiffusersPipeline:
    stride = timesteps // len(indices)  # DDIMScheduler's stride in every spacing
    if any(before - after != stride for before, after in pairwise(indices)) or indices[-1] >= stride:
        hint = f"the grids trailing and leading have such steps if the number of steps divides {timesteps}"
        raise _no_equivalent(
            "sampler.grid",
            f"ddim steps whose lengths are not all {timesteps} // {len(indices)} indices",
            hint,
        )
    config |= {"_class_name": "DDIMScheduler", "set_alpha_to_one": True}
    arguments: dict[str, object] = {"num_inference_steps": len(indices), "eta": sampler.eta}
    if sampler.clip is not None:
        arguments["use_clipped_model_output"] = True
    return DiffusersPipeline("DDIMPipeline", config, arguments)


def _indices(spec: Spec, table: Table, prediction: Prediction) -> list[float]:
    """The timesteps of the sampler's rows. Raises SpecError for a grid that diffusers does not have."""
    sampler = spec.sampler
    if sampler.timesteps is not None:
        raise _no_equivalent(
            "sampler.timesteps",
            "a list of timesteps in a scheduler's configuration",
            "set `steps` and `grid` instead",
        )
    if sampler.grid not in (*SPACINGS, "all"):
        raise _no_equivalent(
            "sampler.grid", f"the grid '{sampler.grid}'", f"can be exported: {', '.join(SPACINGS)}"
        )
    return [row.t for row in sampler.plan(table, prediction)]


def _no_equivalent(field: str, what: str, hint: str) -> SpecError:
    return SpecError(f"diffusers has no equivalent of {what}", field=field, hint=hint)


def from_scheduler(config: Mapping[str, object]) -> dict[str, object]:
    """The blocks `schedule`, `prediction` and `sampler` of a spec.

    Raises SpecError that names the configuration's field.
    """
    scheduler = typed(SchedulerConfig, config)
    kind, spacing = scheduler.class_name, scheduler.timestep_spacing
    if kind not in ("DDPMScheduler", "DDIMScheduler"):
        raise _cannot("_class_name", kind, "DDPMScheduler, DDIMScheduler")
    if scheduler.thresholding:
        raise _cannot("thresholding", True, "false")
    names = {theirs: ours for ours, theirs in PREDICTIONS.items()}
    if scheduler.prediction_type not in names:
        raise _cannot("prediction_type", scheduler.prediction_type, ", ".join(names))
    if spacing not in SPACINGS:
        raise _cannot("timestep_spacing", spacing, ", ".join(SPACINGS))
    if spacing == "leading" and scheduler.steps_offset != 0:
        raise _cannot("steps_offset", scheduler.steps_offset, "0")
    clip = scheduler.clip_sample_range if scheduler.clip_sample else None
    sampler: dict[str, object] = {
        "name": "ddpm" if kind == "DDPMScheduler" else "ddim",
        "clip": clip,
        "grid": spacing,
    }
    if kind == "DDPMScheduler":
        sampler["variance"] = _variance(scheduler.variance_type)
    elif not scheduler.set_alpha_to_one:
        raise _cannot("set_alpha_to_one", False, "true")
    else:
        sampler["steps"] = min(50, scheduler.num_train_timesteps)
    return {
        "schedule": _schedule(scheduler),
        "prediction": names[scheduler.prediction_type],
        "sampler": sampler,
    }


def _variance(variance: str) -> str:
    names = {theirs: ours for ours, theirs in VARIANCES.items()} | {"fixed_small_log": "posterior"}
    if variance not in names:
        raise _cannot("variance_type", variance, ", ".join(names))
    return names[variance]


def _schedule(scheduler: SchedulerConfig) -> dict[str, object]:
    timesteps = {"timesteps": scheduler.num_train_timesteps}
    terminal = {"zero_terminal_snr": True} if scheduler.rescale_betas_zero_snr else {}
    betas, kind = scheduler.trained_betas, scheduler.beta_schedule
    if betas is not None:
        if len(betas) != scheduler.num_train_timesteps:
            raise SpecError(
                f"should have num_train_timesteps = {scheduler.num_train_timesteps:,} values,"
                f" not {len(betas):,}",
                field="trained_betas",
            )
        return {"name": "betas", **timesteps, "values": [float(beta) for beta in betas], **terminal}
    if kind == "squaredcos_cap_v2":
        return {"name": "cosine", **timesteps, "s": 0.008, "beta_max": BETA_MAX, **terminal}
    if kind not in SCHEDULES:
        raise _cannot("beta_schedule", kind, ", ".join([*SCHEDULES, "squaredcos_cap_v2"]))
    return {
        "name": SCHEDULES[kind],
        **timesteps,
        "beta_start": scheduler.beta_start,
        "beta_end": scheduler.beta_end,
        **terminal,
    }


def _cannot(field: str, value: object, valid: str) -> SpecError:
    return SpecError(f"{shortened(repr(value))} cannot be imported", field=field, hint=f"valid: {valid}")
