"""`ddpmx.Diffusion`: the loss and the samplers around a network of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from .. import ops
from ..components.registry import PREDICTIONS, SAMPLERS, SCHEDULES, TIMES, WEIGHTINGS
from ..components.slot import component_of
from ..errors import SpecError
from ..models import TimeInput
from ..objective.coefficients import Coefficients, Formulation, coefficients
from ..objective.steps import Norm, noised, scaled, weighted_loss
from ..ops import Noise, Purpose, stream
from ..predictions import Prediction
from ..rows import Plan
from ..samplers import Sampler
from ..sampling.loop import sample
from ..sampling.network import evaluating
from ..schedules import Schedule
from ..times import Time
from ..weightings import Weighting, checked_weights
from .arguments import Block, at, images, indices, one_of, timed
from .networks import Net, denoiser, device_of, output_of

if TYPE_CHECKING:
    from ..spec.schema import Spec

STEPS = 2**24
"""Streams of noise for one purpose, after which those of the first step come again."""


class Diffusion:
    """A schedule, what the network predicts, the loss and a sampler, for any network and any tensors.

    ::

        d = ddpmx.Diffusion("cosine", timesteps=1000, prediction="v", weighting="min_snr")
        loss = d.loss(net, x0)                                  # x0 float [n, …], in [−1, 1]
        images = d.sample(net, (16, 3, 32, 32), seed=0)

    `net(x, t)` is any module or function: x [n, …], t float32 [n] of the kind `time_input`. It returns a
    tensor like x, or an object with one as `sample`, as networks of diffusers do. For a network with more
    inputs, pass a function: `lambda x, t: net(x, t, labels)`.

    All random numbers are functions of (seed, step, sample id). `step` is counted here: each call of `loss`
    and `add_noise` takes the next one, so that calls differ and a program repeats. Name the `step` for noise
    that stays the same, for example in validation. Processes that train together need different `sample_ids`.
    """

    def __init__(
        self,
        schedule: Block | Schedule = "cosine",
        *,
        timesteps: int | None = None,
        prediction: Block | Prediction = "epsilon",
        weighting: Block | Weighting = "constant",
        sampler: Block | Sampler = "ddpm",
        time: Block | Time = "uniform",
        time_input: TimeInput = "index",
        norm: Literal["l1", "l2", "huber"] = "l2",
        delta: float = 1.0,
        seed: int = 0,
    ) -> None:
        """The parts by name, as blocks of a spec, or as components.

        `timesteps` is for a schedule by name, by default 1000. `time` is the distribution of timesteps in
        training; `time_input` is what the network takes as t: the `index`, `scaled_1000` (index·1000/T) or
        `log_snr`. Raises SpecError with the argument that is wrong or does not suit the others.
        """
        self.schedule = component_of(SCHEDULES, timed(schedule, timesteps), "schedule")
        self.prediction = component_of(PREDICTIONS, prediction, "prediction")
        self.weighting = component_of(WEIGHTINGS, weighting, "weighting")
        self.sampler = component_of(SAMPLERS, sampler, "sampler")
        self.time = component_of(TIMES, time, "time")
        self.time_input: TimeInput = one_of("time_input", time_input, ("index", "scaled_1000", "log_snr"))
        self.norm = Norm(one_of("norm", norm, ops.NORMS), delta)
        self.seed, self.step = seed, 0
        self.table = at("schedule", self.schedule.table)
        at("weighting", lambda: checked_weights(self.weighting, self.table, self.prediction))
        at("time", lambda: self.time.importance(self.table))
        for name, learned in (("weighting", self.weighting.module()), ("time", self.time.start(self.table))):
            if learned is not None:
                message = f"'{getattr(self, name).component_name}' learns from the losses of a whole training"
                raise SpecError(message, field=name, hint="train it with ddpmx.train or ddpmx.run")
        self._plan = at("sampler", lambda: self.sampler.plan(self.table, self.prediction))
        self._coefficients: dict[tuple[torch.device, torch.dtype], Coefficients] = {}

    @classmethod
    def from_spec(cls, spec: Spec) -> Diffusion:
        """The diffusion of a spec, whose `loss` is that of its training, and `sample` that of its sampler.

        Raises SpecError for a network whose training has a loss of its own: with a learned variance or
        self-conditioning.
        """
        for field, differs in (
            ("learned_variance", spec.model.learns_variance),
            ("self_condition", spec.model.self_conditioned),
        ):
            if differs:
                message = "changes the loss and the sampling, which a Diffusion does not have"
                raise SpecError(message, field=f"model.{field}", hint="use ddpmx.train or ddpmx.run")
        return cls(
            spec.schedule,
            prediction=spec.prediction,
            weighting=spec.loss.weighting,
            sampler=spec.sampler,
            time=spec.time,
            time_input=spec.model.time,
            norm=spec.loss.norm,
            delta=spec.loss.delta,
            seed=spec.seed,
        )

    @property
    def timesteps(self) -> int:
        """T, the number of noise levels."""
        return self.table.timesteps

    def loss(
        self,
        net: Net,
        x0: Tensor,
        *,
        t: Tensor | int | None = None,
        noise: Tensor | None = None,
        seed: int | None = None,
        step: int | None = None,
        sample_ids: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """The mean training loss of a batch x0 [n, …]: a float32 scalar, differentiable in net's weights.

        By default t is drawn by `time` and the noise is standard normal, for the next step and the ids
        0 … n−1. In a training of ddpmx with this seed, step k (from 0) of the images `sample_ids` has exactly
        this loss. Raises ValueError, TypeError or SpecError naming the argument that is wrong.
        """
        x0, draw = images("x0", x0), self._draw(x0, noise, seed, step, sample_ids)
        c, epsilon = self._columns(x0.device, x0.dtype), draw.noise
        t = self._drawn_times(draw) if t is None else indices(t, len(x0), self.timesteps)
        t = t.to(x0.device)
        x_t, epsilon = noised(c, x0, t, epsilon)
        x = scaled(x_t, None if c.input_scale is None else c.input_scale[t])
        output = output_of(net, x, c.time[t].float(), like=x0)
        columns = self._columns(x0.device, output.dtype)
        losses = weighted_loss(columns, output, x0, t, epsilon, self.norm)
        # Σ importance·loss/n
        return (losses * (c.importance[t].float() / len(x0))).sum()

    def add_noise(
        self,
        x0: Tensor,
        t: Tensor | Sequence[int] | int,
        noise: Tensor | None = None,
        *,
        seed: int | None = None,
        step: int | None = None,
        sample_ids: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """x_t = signal·x0 + sigma·ε for x0 [n, …] at table indices t, an int or int64 [n], in x0's dtype.

        ε is `noise`, or drawn as by `loss`. Raises ValueError, TypeError or SpecError naming the argument.
        """
        x0, draw = images("x0", x0), self._draw(x0, noise, seed, step, sample_ids)
        t = indices(t, len(x0), self.timesteps).to(x0.device)
        return noised(self._columns(x0.device, x0.dtype), x0, t, draw.noise)[0]

    def plan(self, sampler: Block | Sampler | None = None) -> Plan:
        """The rows of a sampler, by default this one's own, for `ddpmx.sample` with `denoiser(net)`.

        Raises SpecError for a sampler that does not suit the schedule, or needs moments of a trained network.
        """
        chosen = self.sampler if sampler is None else component_of(SAMPLERS, sampler, "sampler")
        plan = self._plan
        if sampler is not None:
            plan = at("sampler", lambda: chosen.plan(self.table, self.prediction))
        if plan.lacks_moments:
            message = f"'{chosen.component_name}' with these settings needs moments of a trained network"
            raise SpecError(message, field="sampler", hint="sample from a run, which measures them")
        return plan

    def denoiser(self, net: Net) -> Callable[[Tensor, Tensor], Tensor]:
        """denoise(x, t) for `ddpmx.sample`: net's output for x [n, …] at table indices t [n]."""
        return denoiser(net, self.table, self.prediction, self.time_input)

    def sample(
        self,
        net: Net,
        shape: Sequence[int],
        seed: int = 0,
        *,
        sampler: Block | Sampler | None = None,
        sample_ids: Tensor | Sequence[int] | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Images of `shape` [n, …] from noise, by `ddpmx.sample` with net in evaluation mode.

        They are float tensors of `dtype`, in [−1, 1] unless the sampler has no `clip`. The device is by
        default that of net's weights. `sampler` replaces this one's own; `ddpmx.sample` itself, with `plan`
        and `denoiser`, has the options for editing and inpainting. Raises SpecError naming the sampler's
        field, and ValueError for a shape that net does not return.
        """
        with evaluating(net):
            return sample(
                self.denoiser(net),
                self.plan(sampler),
                shape,
                seed=seed,
                sample_ids=sample_ids,
                device=device_of(net) if device is None else device,
                dtype=dtype,
            )

    def __repr__(self) -> str:
        parts = ("schedule", "prediction", "weighting", "sampler")
        names = [f"{part}={getattr(self, part).component_name}" for part in parts]
        return f"Diffusion({', '.join([*names, f'timesteps={self.timesteps}'])})"

    def _columns(self, device: torch.device, dtype: torch.dtype) -> Coefficients:
        """The coefficients on a device: float64 for float64 images, else float32."""
        key = (device, torch.float64 if dtype == torch.float64 else torch.float32)
        if key not in self._coefficients:
            formulation = Formulation(self.prediction, self.weighting, self.time, self.time_input)
            self._coefficients[key] = coefficients(formulation, self.table, *key)
        return self._coefficients[key]

    def _draw(
        self,
        x0: Tensor,
        noise: Tensor | None,
        seed: int | None,
        step: int | None,
        sample_ids: Tensor | Sequence[int] | None,
    ) -> _Draw:
        """The random numbers of a call, which counts as a step unless it names one."""
        if step is None:
            step, self.step = self.step % STEPS, self.step + 1
        ids = torch.arange(len(x0)) if sample_ids is None else torch.as_tensor(sample_ids).cpu()
        if ids.shape != (len(x0),) or ids.dtype != torch.int64:
            actual = f"{str(ids.dtype).removeprefix('torch.')} {list(ids.shape)}"
            raise ValueError(f"sample_ids should be int64 [{len(x0)}], one for each image, not {actual}")
        seed = self.seed if seed is None else seed
        return _Draw(seed, step, ids, Noise(seed, stream(Purpose.NOISE, step), ids.to(x0.device), noise))

    def _drawn_times(self, draw: _Draw) -> Tensor:
        """The timesteps of a batch, int64 [n] on the CPU."""
        u = ops.uniform(draw.ids, stream(Purpose.TIME, draw.step), draw.seed)
        return self.time.draw(u, self.table)


@dataclass(frozen=True, slots=True, eq=False)
class _Draw:
    """The random numbers of a batch."""

    seed: int
    """64-bit seed."""
    step: int
    """The step of their streams."""
    ids: Tensor
    """Ids of the images, int64 [n] on the CPU."""
    noise: Noise
    """ε, given or not generated yet, on the images' device."""
