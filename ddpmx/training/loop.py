"""The training loop: linear code that yields what happened; saving, sampling and printing are the caller's.

The order of the data is a function of (seed, epoch), as all that `objective.py` draws is of (seed, step or epoch, image id).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from .. import ops
from ..ops import Purpose, stream
from ..process.allocator import keep_memory
from ..spec.schema import Spec, TrainSpec
from ..times import TimeState
from ..world import World
from .ema import Ema
from .events import Count
from .experiment import Experiment
from .learning_rate import learning_rate
from .objective import Network, batch, loss_of_nothing, step_loss, timesteps
from .pacing import Pacing, max_epochs, max_steps
from .stability import MOST_SKIPPED, BadStep, Diverged, Stability, verdict
from .validation import Validated, validate


@dataclass
class TrainState(Stability):
    """All that a checkpoint holds besides weights and optimizer."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    step: Count = 0
    epoch: Count = 0
    """Whole passes done."""
    batch: Count = 0
    """Batches done of the pass under way."""
    images: Count = 0
    """Training images seen."""
    loss_sum: float = 0.0
    loss_count: Count = 0
    seconds: float = 0.0
    """Of the pass under way: sum of the losses, their count, training time."""
    best_loss: float = math.inf
    best_step: int = -1
    best_epoch: int = 0
    row: dict[str, Any] = field(default_factory=dict)
    """The last finished epoch's event, which a kill may have kept from the log."""
    skipped: Count = 0
    """Batches left out in a row."""
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    """Their events; each has halved the learning rate."""
    lr: float | None = None
    """What the schedule gave the last step, before rollbacks halved it; None where an older version wrote the checkpoint."""

    def add_loss(self, loss: float, images: int, nothing: float = math.inf) -> None:
        """Take in a step's mean loss over its images, and what an output of 0 would have."""
        self.skipped = 0
        self.loss_sum += loss * images
        self.loss_count += images
        self.add_step(self.step, loss, nothing)


@dataclass(frozen=True)
class Trained:
    """All that training changes, besides the counters: what a checkpoint holds."""

    network: nn.Module
    ema: Ema | None
    optimizer: torch.optim.Optimizer
    weighting: nn.Module | None = None
    """The u of a learned weighting; not averaged, as nothing is drawn with it."""
    time: TimeState | None = None

    @property
    def averaged(self) -> nn.Module:
        """The network that validation, samples and metrics use."""
        return self.network if self.ema is None else self.ema.module

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the gradient is taken of, the network's first."""
        modules = [self.network] if self.weighting is None else [self.network, self.weighting]
        return [p for module in modules for p in module.parameters() if p.requires_grad]


@dataclass(frozen=True)
class StepDone:
    epoch: int
    step: int
    images: int
    loss: float
    lr: float
    grad_norm: float


@dataclass(frozen=True)
class Skipped:
    """A step that left its batch out, and changed nothing."""

    epoch: int
    step: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class EpochDone:
    row: dict[str, Any]
    validated: Validated


def is_over(train: TrainSpec, state: TrainState) -> bool:
    """Whether the budget is spent or patience is at its end."""
    patience = train.patience is not None and state.best_step >= 0 and state.epoch - state.best_epoch >= train.patience
    return patience or state.epoch >= max_epochs(train) or state.step >= max_steps(train)


def may_evaluate(spec: Spec, state: TrainState, pacing: Pacing) -> bool:
    """Whether an evaluation is due after the pass under way, as far as is known before its validation, which may end patience."""
    after = replace(state, epoch=state.epoch + 1)
    return pacing.evaluation.at_end(after.epoch, after.step) or is_over(spec.train, after)


def prepare(experiment: Experiment) -> Trained:
    """What training changes, as it is before the first step."""
    spec, network = experiment.spec, experiment.network
    ema = None if spec.train.ema is None else Ema(network, spec.train.ema.decay, spec.train.ema.warmup)
    weighting = spec.loss.weighting.module()
    learned = [] if weighting is None else list(weighting.to(experiment.device).parameters())
    optimizer = spec.train.optimizer.build([*network.parameters(), *learned], lr=spec.train.lr, weight_decay=spec.train.weight_decay)
    return Trained(network, ema, optimizer, weighting, spec.time.start(experiment.table))


def train(
    experiment: Experiment, state: TrainState, trained: Trained, world: World, stop: Callable[[], bool]
) -> Iterator[StepDone | Skipped | EpochDone]:
    """Train until the budget is spent, patience ends or `stop()`; `state` is true at each yield.

    Raises Diverged when the loss or the gradient is not finite, before the weights are touched; with `on_nan: skip` only when there
    are too many such steps in a row.
    """
    spec, budget, network, device = experiment.spec, experiment.spec.train, trained.network, experiment.device
    optimizer, parameters = trained.optimizer, trained.parameters
    if device.type == "cpu":
        keep_memory()
    pixels = experiment.data.train.pixels
    if device.type != "cuda" or pixels.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
        pixels = pixels.to(device)
    pacing = Pacing.of(spec, len(pixels), experiment.table)
    batches, total = pacing.per_epoch, pacing.steps
    nothing = loss_of_nothing(experiment) * (experiment.coefficients.importance.cpu() if trained.time is None else 1)
    run_network: Network = torch.compile(network) if budget.compile else network

    while not is_over(budget, state) or state.row.get("step", 0) != state.step:  # or stopped before its validation
        order = epoch_order(len(pixels), spec.seed, state.epoch)
        network.train()
        while state.batch < batches and state.step < total:
            started = time.perf_counter()
            scheduled = learning_rate(budget, state.step, total)
            lr = scheduled * 0.5 ** len(state.rollbacks)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(hash((spec.seed, state.step, world.rank)))  # dropout's
            ids = order[state.batch * budget.batch_size : (state.batch + 1) * budget.batch_size]
            loss = torch.zeros((), device=device)
            optimizer.zero_grad(set_to_none=True)
            t = timesteps(experiment, ids, state.step, trained.time)
            importance = None if trained.time is None else trained.time.importance()
            expected = float((nothing[t] if importance is None else nothing[t] * importance[t]).mean())
            fair = experiment.coefficients.importance if importance is None else importance.to(device, torch.float32)
            seen = torch.zeros(len(ids), device=device)  # each image's loss, for a time that learns
            places = world.part(torch.arange(len(ids)))
            for place in places.split(math.ceil(math.ceil(len(ids) / world.size) / budget.accumulate)):
                if len(place) == 0:  # there are fewer images than processes: no network sees an empty batch
                    continue
                x_start = batch(pixels, ids[place], spec.seed, state.epoch, experiment.data.flip).to(device)
                share = fair[t[place].to(device)] / len(ids)
                part_loss, losses = learn(experiment, run_network, x_start, t[place], ids[place], state.step, trained.weighting, share)
                loss += part_loss
                seen[place.to(device)] = losses
                del x_start, part_loss, losses  # kept to the next step, they would keep its memory in pieces
            grad_norm = reduce_and_clip(parameters, budget.grad_clip, world)
            value = float(world.sum_(loss))
            facts: dict[str, Any] = {}
            if not (math.isfinite(value) and math.isfinite(grad_norm)):
                bad = BadStep(ids, t, world.sum_(seen).cpu(), value, grad_norm)
                facts = bad.facts(state.step + 1, experiment.table.timesteps, experiment.coefficients.weight.cpu(), parameters)
                if budget.on_nan != "skip":
                    raise Diverged(facts)
                if state.skipped == MOST_SKIPPED:
                    raise Diverged(facts, f", and {MOST_SKIPPED} batches before it are left out")
            state.step, state.lr = state.step + 1, scheduled
            state.batch += 1
            state.images += len(ids)
            if facts:
                state.skipped += 1
            else:
                optimizer.step()
                if trained.ema is not None:
                    trained.ema.update(network, state.step)
                if trained.time is not None:
                    trained.time.update(t, world.sum_(seen).cpu())
                state.add_loss(value, len(ids), expected)
            state.seconds += time.perf_counter() - started
            done = StepDone(state.epoch + 1, state.step, state.images, value, lr, grad_norm)
            yield Skipped(state.epoch + 1, state.step, facts) if facts else done
            if world.any(stop(), device):
                return
        validated = validate(experiment, trained.averaged, world, bits=may_evaluate(spec, state, pacing))
        if validated.loss < state.best_loss:
            state.best_loss, state.best_step, state.best_epoch = validated.loss, state.step, state.epoch + 1
        state.row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "images": state.images,
            "train_loss": state.loss_sum / state.loss_count if state.loss_count else math.nan,  # all of its batches were left out
            "val_loss": validated.loss,
            "seconds": round(state.seconds, 3),
            "images_per_second": round(state.loss_count / state.seconds, 1),
        }
        diverged = verdict(
            stretch=state.stretch_loss,
            lowest_stretch=math.inf if trained.weighting is not None else state.lowest_stretch,  # learned: u may be below 0
            validation=validated.loss,
            lowest_validation=state.best_loss,
        )
        if diverged:
            state.row["verdict"] = diverged
        unstable = state.instability(state.step, bool(diverged)) if trained.weighting is None else {}
        if unstable:
            state.row["unstable"] = unstable
        if state.batch == batches:
            state.epoch, state.batch = state.epoch + 1, 0
            state.loss_sum, state.loss_count, state.seconds = 0.0, 0, 0.0
        yield EpochDone(state.row, validated)


def learn(
    experiment: Experiment,
    network: Network,
    x_start: Tensor,
    t: Tensor,
    ids: Tensor,
    step: int,
    learned: nn.Module | None,
    share: Tensor,
) -> tuple[Tensor, Tensor]:
    """Adds the gradient of Σ share·objective to the parameters; returns that sum, and `step_loss`'s loss [b]."""
    objective, loss = step_loss(experiment, network, x_start, t, ids, step, learned)
    total = (objective * share).sum()
    total.backward()
    return total.detach(), loss.detach()


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """A permutation of the image ids, int64 [images], that depends on seed and epoch only."""
    return ops.bits(torch.arange(images), stream(Purpose.ORDER, epoch), seed).argsort(stable=True)


def reduce_and_clip(parameters: Sequence[nn.Parameter], largest: float | None, world: World) -> float:
    """Sum the gradients over the processes, bound their norm; returns the norm before that."""
    if world.size > 1:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        for parameter, grad in zip(parameters, world.sum_(flat).split([p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)
    return float(nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest))
