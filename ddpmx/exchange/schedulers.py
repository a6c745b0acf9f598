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
EPSILON_AT = 0.999  # diffusers' bound of β in squaredcos_cap_v2


@dataclass(frozen=True)
class Twin:
    """What draws the same images in diffusers: a pipeline, its scheduler's configuration and the arguments of its call."""

    pipeline: str
    scheduler: dict[str, object]
    arguments: dict[str, object]


def to_scheduler(spec: Spec, table: Table) -> Twin:
    """The twin of a spec's sampler. Raises SpecError, at the field, for what diffusers has no twin of."""
    sampler = spec.sampler
    if type(sampler) is not DDPM and type(sampler) is not DDIM:
        raise _no_twin(
            "sampler.name",
            f"the sampler '{sampler.component_name}'",
            "-s 'sampler=ddim' or ddpm can be exported",
        )
    if not table.is_variance_preserving:
        raise _no_twin(
            "schedule.name",
            f"the schedule '{spec.schedule.component_name}'",
            "it has those with signal² + sigma² = 1",
        )
    name = spec.prediction.component_name
    if name not in PREDICTIONS:
        raise _no_twin("prediction", f"the prediction '{name}'", f"it has {', '.join(PREDICTIONS)}")
    if spec.model.conditional:
        raise _no_twin("model.classes", "a pipeline of unconditional images that is told classes", "")
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
        "rescale_betas_zero_snr": False,  # trained_betas are what they are
    }
    if isinstance(sampler, DDPM):
        return _ddpm(sampler, config, indices)
    return _ddim(sampler, config, indices, table.timesteps)


def _ddpm(sampler: DDPM, config: dict[str, object], indices: list[float]) -> Twin:
    if sampler.variance not in VARIANCES:
        raise _no_twin(
            "sampler.variance",
            f"the variance '{sampler.variance}'",
            f"{', '.join(VARIANCES)} can be exported",
        )
    if indices[-1] > 0 and sampler.variance == "beta":
        raise _no_twin(
            "sampler.variance",
            "a last step without noise from an index above 0",
            "variance posterior, or the grid leading",
        )
    config |= {"_class_name": "DDPMScheduler", "variance_type": VARIANCES[sampler.variance]}
    return Twin("DDPMPipeline", config, {"num_inference_steps": len(indices)})


def _ddim(sampler: DDIM, config: dict[str, object], indices: list[float], timesteps: int) -> Twin:
    stride = timesteps // len(indices)  # of DDIMScheduler, whatever its spacing
    if any(before - after != stride for before, after in pairwise(indices)) or indices[-1] >= stride:
        hint = f"with steps that divide {timesteps}, the grids trailing and leading have them"
        raise _no_twin(
            "sampler.grid", f"steps of ddim that are not all {timesteps} // {len(indices)} indices long", hint
        )
    config |= {"_class_name": "DDIMScheduler", "set_alpha_to_one": True}
    arguments: dict[str, object] = {"num_inference_steps": len(indices), "eta": sampler.eta}
    if sampler.clip is not None:
        arguments["use_clipped_model_output"] = True
    return Twin("DDIMPipeline", config, arguments)


def _indices(spec: Spec, table: Table, prediction: Prediction) -> list[float]:
    sampler = spec.sampler
    if sampler.timesteps is not None:
        raise _no_twin(
            "sampler.timesteps",
            "a list of timesteps in a scheduler's configuration",
            "give `steps` and `grid`",
        )
    if sampler.grid not in (*SPACINGS, "all"):
        raise _no_twin("sampler.grid", f"the grid '{sampler.grid}'", f"it has {', '.join(SPACINGS)}")
    return [row.t for row in sampler.plan(table, prediction)]


def _no_twin(field: str, what: str, hint: str) -> SpecError:
    return SpecError(f"diffusers has no twin of {what}", field=field, hint=hint)


def from_scheduler(config: Mapping[str, object]) -> dict[str, object]:
    """The blocks `schedule`, `prediction` and `sampler` of a spec. Raises SpecError that names the configuration's field."""
    given = typed(SchedulerConfig, config)
    kind, spacing = given.class_name, given.timestep_spacing
    if kind not in ("DDPMScheduler", "DDIMScheduler"):
        raise _cannot("_class_name", kind, "DDPMScheduler, DDIMScheduler")
    if given.thresholding:
        raise _cannot("thresholding", True, "false")
    names = {theirs: ours for ours, theirs in PREDICTIONS.items()}
    if given.prediction_type not in names:
        raise _cannot("prediction_type", given.prediction_type, ", ".join(names))
    if spacing not in SPACINGS:
        raise _cannot("timestep_spacing", spacing, ", ".join(SPACINGS))
    if spacing == "leading" and given.steps_offset != 0:
        raise _cannot("steps_offset", given.steps_offset, "0")
    clip = given.clip_sample_range if given.clip_sample else None
    sampler: dict[str, object] = {
        "name": "ddpm" if kind == "DDPMScheduler" else "ddim",
        "clip": clip,
        "grid": spacing,
    }
    if kind == "DDPMScheduler":
        sampler["variance"] = _variance(given.variance_type)
    elif not given.set_alpha_to_one:
        raise _cannot("set_alpha_to_one", False, "true")
    else:
        sampler["steps"] = min(50, given.num_train_timesteps)
    return {"schedule": _schedule(given), "prediction": names[given.prediction_type], "sampler": sampler}


def _variance(variance: str) -> str:
    names = {theirs: ours for ours, theirs in VARIANCES.items()} | {"fixed_small_log": "posterior"}
    if variance not in names:
        raise _cannot("variance_type", variance, ", ".join(names))
    return names[variance]


def _schedule(given: SchedulerConfig) -> dict[str, object]:
    timesteps = {"timesteps": given.num_train_timesteps}
    terminal = {"zero_terminal_snr": True} if given.rescale_betas_zero_snr else {}
    betas, kind = given.trained_betas, given.beta_schedule
    if betas is not None:
        if len(betas) != given.num_train_timesteps:
            raise SpecError(
                f"should be as many as num_train_timesteps, {given.num_train_timesteps:,}, not {len(betas):,}",
                field="trained_betas",
            )
        return {"name": "betas", **timesteps, "values": [float(beta) for beta in betas], **terminal}
    if kind == "squaredcos_cap_v2":
        return {"name": "cosine", **timesteps, "s": 0.008, "beta_max": EPSILON_AT, **terminal}
    if kind not in SCHEDULES:
        raise _cannot("beta_schedule", kind, ", ".join([*SCHEDULES, "squaredcos_cap_v2"]))
    return {
        "name": SCHEDULES[kind],
        **timesteps,
        "beta_start": given.beta_start,
        "beta_end": given.beta_end,
        **terminal,
    }


def _cannot(field: str, value: object, valid: str) -> SpecError:
    return SpecError(f"{shortened(repr(value))} cannot be imported", field=field, hint=f"valid: {valid}")
