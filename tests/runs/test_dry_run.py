"""The dry run's estimate equals the time that the run takes, on a clock that only network passes advance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ddpmx.components.registry import MODELS
from ddpmx.errors import SpecError
from ddpmx.metrics import Metric, Score, Subject
from ddpmx.runs import dry_run, timings
from ddpmx.runs.run import run
from ddpmx.spec import loading as spec_file
from ddpmx.training.experiment import Experiment, build

CPU = torch.device("cpu")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Advances by a second for each image that passes through the network; all else takes no time."""
    clock, kind = Clock(), type(MODELS.build("convnext_unet", dim=8).build(1, 8))

    def tick(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, kind):
            clock.now += len(inputs[0])

    for home in ("ddpmx.runs.dry_run", "ddpmx.pages.plots"):
        monkeypatch.setattr(f"{home}.write_plots", lambda folder, spec: None)
    for home in ("ddpmx.runs.dry_run", "ddpmx.pages.report"):
        monkeypatch.setattr(f"{home}.write_report", lambda run, status=None: None)
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "process_time", clock)
    handle = register_module_forward_pre_hook(tick)
    yield clock
    handle.remove()


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "model.classes=true",
            "guidance.weight=2",
            "evaluate.samples=70",
            "evaluate.batch_size=16",
            "evaluate.metrics=[pixel_fd]",
        ),
        (
            "train={epochs: 3, batch_size: 479}",
            "evaluate={every_epochs: 2, samples: 10, grid: 5,"
            " metrics: [pixel_fd, {name: bpd, images: 10, timesteps: 4}]}",
        ),
        pytest.param(
            (
                "train={epochs: 5, batch_size: 479, checkpoint_every_steps: 4}",
                "evaluate={every_steps: 2, grid_every: 7, samples: 10, metrics: [pixel_fd], grid: 5}",
            ),
            marks=pytest.mark.slow,
        ),
        ("dataset.limit=40", "train={epochs: 7}", "evaluate={every_epochs: 3, metrics: [pixel_fd], grid: 9}"),
        ("train={epochs: 2, batch_size: 479}", "evaluate.grid=0"),
        pytest.param(
            (
                "train={epochs: 3, batch_size: 479, ema: {name: power, snapshots: 4}}",
                "weights={checkpoint: last, ema_std: 0}",
                "evaluate={every_epochs: 2, samples: 10, grid: 5, metrics: [pixel_fd],"
                " over: {weights.ema_std: [0, null], evaluate.sampler: [{name: heun, steps: 4}, ddim],"
                " evaluate.samples: [8, 24], evaluate.metrics: [[{name: pixel_fd, reference: test}]]}}",
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_estimate_is_the_runs_time(
    tiny: Path, tmp_path: Path, clock: Clock, overrides: tuple[str, ...]
) -> None:
    spec = spec_file.load(tiny, overrides)
    expected = sum(seconds for _, seconds in dry_run.estimate(build(spec, CPU)))
    clock.now = 0.0
    run(spec, out=tmp_path / "runs", device=CPU)
    assert expected == pytest.approx(clock.now, rel=1e-6)


@pytest.fixture
def measuring(tiny: Path, clock: Clock) -> Callable[[Callable[[Subject, Clock], None], bool], float]:
    """The estimated time of a metric on 1,000 images, given its work."""
    experiment: Experiment = build(spec_file.load(tiny, ["evaluate.samples=1000"]), CPU)

    def seconds(work: Callable[[Subject, Clock], None], of_images: bool = True) -> float:
        class Metered(Metric):
            needs_images = of_images

            def compute(self, subject: Subject) -> dict[str, Score]:
                work(subject, clock)
                return {}

        return timings.metric_seconds(experiment, [Metered()])

    return seconds


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 1.0])
def test_slow_metrics_are_tried_on_few_images(measuring: Callable[..., float], rate: float) -> None:
    counts: list[int] = []

    def work(subject: Subject, clock: Clock) -> None:
        counts.append(len(subject.images))
        clock.now += rate * len(subject.images)

    assert measuring(work) == pytest.approx(1000 * rate)
    assert sum(counts) * rate <= max(16 * timings.TRIAL_SECONDS, 2 * timings.TRIAL_IMAGES * rate)


def test_work_that_is_done_only_once_does_not_count(measuring: Callable[..., float]) -> None:
    done: list[bool] = []

    def work(subject: Subject, clock: Clock) -> None:
        clock.now += 5 if done else 500
        done.append(True)

    assert measuring(work) == pytest.approx(5 * 1000 / timings.TRIAL_IMAGES)


def test_a_metric_that_needs_many_images_gets_them_all(measuring: Callable[..., float]) -> None:
    def work(subject: Subject, clock: Clock) -> None:
        if len(subject.images) < 500:
            raise SpecError("too few")
        clock.now += 3

    assert measuring(work) == pytest.approx(3)


def test_a_long_metric_without_images_is_extrapolated_from_its_progress(
    measuring: Callable[..., float],
) -> None:
    called: list[int] = []

    def work(subject: Subject, clock: Clock) -> None:
        for part in range(500):
            subject.progress("parts", part, 500)
            called.append(part)
            clock.now += 0.5

    assert measuring(work, False) == pytest.approx(250)
    assert len(called) < 20
