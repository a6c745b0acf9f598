from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from ddpmx import ops
from ddpmx.components.registry import PREDICTIONS, SAMPLERS, SCHEDULES
from ddpmx.rows import DynamicClip, Plan, Row
from ddpmx.sampling.loop import sample
from ddpmx.sampling.network import bounded
from ddpmx.schedules import Table
from ddpmx.testing.gaussian import denoiser

TABLE = SCHEDULES.build("linear", timesteps=1000).table()
SHAPE = (3, 1, 4, 4)
THEIR_NAMES = {"epsilon": "epsilon", "x_start": "sample", "v": "v_prediction"}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def injected(k: int, shape: tuple[int, ...]) -> Tensor:
    return random(*shape, seed=1000 + k)


def run(plan: Plan, denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The x after each row, in float64, and the injected noise."""
    states: list[Tensor] = []
    sample(
        denoise,
        plan,
        x.shape,
        x_init=x,
        noise=injected,
        dtype=torch.float64,
        callback=lambda index, row, x_next, m: states.append(x_next),
    )
    return states


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert ((a - b).norm() / b.norm()).item() < 1e-6


# against diffusers


@pytest.mark.parametrize("prediction", THEIR_NAMES)
@pytest.mark.parametrize("grid", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("variance", "theirs"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm_is_diffusers(
    variance: str, theirs: str, grid: str, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    steps = 30
    scheduler = DDPMScheduler(
        1000, variance_type=theirs, prediction_type=THEIR_NAMES[prediction], timestep_spacing=grid
    )
    scheduler.alphas_cumprod, scheduler.one = TABLE.alpha_bar, torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(steps)
    denoise = denoiser(TABLE, PREDICTIONS.build(prediction), mean=0.6)
    x = random(*SHAPE)
    states, k = [x], 0

    def next_noise(shape: torch.Size, **unused: object) -> Tensor:
        # trailing ends above index 0, where diffusers still adds noise; our ddpm's last step adds none
        return injected(k, tuple(shape)) if k < steps - 1 else torch.zeros(shape, dtype=torch.float64)

    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", next_noise)
    for t in scheduler.timesteps:
        output = denoise(states[-1], t.expand(len(x)))
        states.append(scheduler.step(output, t, states[-1]).prev_sample)
        k += 1
    plan = SAMPLERS.build("ddpm", steps=steps, grid=grid, variance=variance).plan(TABLE, prediction)
    assert_same(run(plan, denoise, x), states[1:])


@pytest.mark.parametrize("prediction", THEIR_NAMES)
@pytest.mark.parametrize("grid", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_is_diffusers(eta: float, grid: str, prediction: str) -> None:
    from diffusers import DDIMScheduler

    steps = 30
    scheduler = DDIMScheduler(1000, prediction_type=THEIR_NAMES[prediction], timestep_spacing=grid)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = (
        TABLE.alpha_bar,
        torch.tensor(1.0, dtype=torch.float64),
    )
    scheduler.set_timesteps(steps)
    denoise = denoiser(TABLE, PREDICTIONS.build(prediction), mean=0.6)
    x = random(*SHAPE)
    states = [x]
    indices = scheduler.timesteps.tolist()
    for k, (t, following) in enumerate(zip(indices, [*indices[1:], -1], strict=True)):
        # diffusers steps to t − ⌊T/steps⌋, which may not be the next index of its grid; this makes it that
        scheduler.num_inference_steps = Fraction(1000, t - following)
        output = denoise(states[-1], torch.full((len(x),), t))
        noise = injected(k, SHAPE)
        step = scheduler.step(
            output, t, states[-1], eta=eta, use_clipped_model_output=True, variance_noise=noise
        )
        states.append(step.prev_sample)
    plan = SAMPLERS.build("ddim", steps=steps, grid=grid, eta=eta).plan(TABLE, prediction)
    assert_same(run(plan, denoise, x), states[1:])


@pytest.mark.parametrize("prediction", THEIR_NAMES)
def test_learned_range_is_diffusers(prediction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    steps = 30
    scheduler = DDPMScheduler(
        1000,
        variance_type="learned_range",
        prediction_type=THEIR_NAMES[prediction],
        timestep_spacing="leading",
        clip_sample=False,
    )
    scheduler.alphas_cumprod, scheduler.one = TABLE.alpha_bar, torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(steps)
    mean = denoiser(TABLE, PREDICTIONS.build(prediction), mean=0.6)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat((mean(x, t), torch.sin(3 * x)), dim=1)

    states = [random(*SHAPE)]
    for k, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr(
            scheduling_ddpm, "randn_tensor", lambda shape, k=k, **unused: injected(k, tuple(shape))
        )
        states.append(scheduler.step(denoise(states[-1], t.expand(3)), t, states[-1]).prev_sample)
    plan = SAMPLERS.build("ddpm", steps=steps, grid="leading", variance="learned_range", clip=None).plan(
        TABLE, prediction
    )
    assert_same(run(plan, denoise, states[0]), states[1:])


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995])
def test_dynamic_clip_is_diffusers(percentile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    steps = 30
    options = {"dynamic_thresholding_ratio": percentile, "sample_max_value": 1e9}
    scheduler = DDPMScheduler(
        1000, thresholding=True, clip_sample=False, timestep_spacing="leading", **options
    )
    scheduler.alphas_cumprod, scheduler.one = TABLE.alpha_bar, torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(steps)
    denoise = denoiser(TABLE, PREDICTIONS.build("epsilon"), mean=0.8, std=1.0)  # goes beyond 1
    states = [random(*SHAPE)]
    for k, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr(
            scheduling_ddpm, "randn_tensor", lambda shape, k=k, **unused: injected(k, tuple(shape))
        )
        states.append(scheduler.step(denoise(states[-1], t.expand(3)), t, states[-1]).prev_sample)
    plan = SAMPLERS.build(
        "ddpm", steps=steps, grid="leading", clip={"name": "dynamic", "percentile": percentile}
    ).plan(TABLE)
    unbounded = SAMPLERS.build("ddpm", steps=steps, grid="leading", clip=None).plan(TABLE)
    assert_same(run(plan, denoise, states[0]), states[1:])
    assert not torch.allclose(run(unbounded, denoise, states[0])[-1], states[-1])


def test_each_image_has_its_own_bound() -> None:
    x0 = torch.stack([torch.linspace(-1, 1, 101), torch.linspace(-4, 4, 101)])[:, None, None]
    out = bounded(x0, DynamicClip(0.9))
    torch.testing.assert_close(out[0], x0[0])  # within [−1, 1]: unchanged
    torch.testing.assert_close(out[1], x0[1].clamp(-3.6, 3.6) / 3.6)  # 0.9 of |x_0| is 3.6


def test_self_condition_feeds_the_bounded_estimate_back() -> None:
    """A network that adds half of its estimate, compared with the same recursion written out for ddim."""
    plan = SAMPLERS.build("ddim", steps=10).plan(TABLE, "x_start")
    received: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        received.append(x0.clone())
        return 0.9 * x + 0.5 * x0

    x, x0, estimates = random(*SHAPE), torch.zeros(SHAPE, dtype=torch.float64), []
    ours = sample(denoise, plan, SHAPE, x_init=x, dtype=torch.float64, self_condition=True)
    for here, there in itertools.pairwise([*plan.levels, (1.0, 0.0)]):
        estimates.append(x0)
        x0 = (0.9 * x + 0.5 * x0).clamp(-1, 1)
        x = there[0] * x0 + there[1] * (x - here[0] * x0) / here[1]
    torch.testing.assert_close(received, estimates)
    torch.testing.assert_close(ours, x)


def test_what_the_rows_need_is_asked_for() -> None:
    plan = SAMPLERS.build("ddpm", steps=5, variance="learned_range").plan(TABLE)
    with pytest.raises(
        ValueError, match="a learned variance: the network.s output should have twice the channels"
    ):
        sample(denoiser(TABLE, PREDICTIONS.build("epsilon")), plan, SHAPE)


def test_predictions_sample_alike() -> None:
    """The same ideal denoiser, in four predictions."""
    plans = {name: SAMPLERS.build("ddpm", steps=20).plan(TABLE, name) for name in PREDICTIONS.names()}
    results = {
        name: run(plan, denoiser(TABLE, PREDICTIONS.build(name)), random(*SHAPE))
        for name, plan in plans.items()
    }
    for states in results.values():
        torch.testing.assert_close(states, results["x_start"], rtol=1e-9, atol=1e-9)


# against closed forms


def test_gaussian_data_come_out_as_the_plan_says() -> None:
    """50 ancestral steps on data of std 0.5 give exactly 0.4432 (test_samplers); here from 40,000 samples."""
    plan = SAMPLERS.build("ddpm", steps=50, grid="linspace", clip=None).plan(TABLE)
    images = sample(denoiser(TABLE, PREDICTIONS.build("epsilon")), plan, (50, 800), seed=3)
    error = 0.4432 / math.sqrt(2 * images.numel())
    assert images.std().item() == pytest.approx(0.4432, abs=4 * error)
    assert images.mean().item() == pytest.approx(0, abs=4 * 0.4432 / math.sqrt(images.numel()))


def ode_error(method: str, steps: int) -> float:
    """The error of x(n) = x(n_0)·√((0.25 + n²)/(0.25 + n_0²)), for n from 10 to 0.1.

    This is the flow of Gaussian data with signal 1.
    """
    n = torch.logspace(-1, 1, steps + 1, dtype=torch.float64)
    table = Table(torch.ones_like(n), n)
    rows = []
    for i in range(steps, 0, -1):
        here, there = n[i].item(), n[i - 1].item()
        if method == "heun":  # two evaluations per step: the second one starts from the anchor
            rows.append(Row(i, 0, 1, c_x=there / here, c_x0=1 - there / here, keep_anchor=True))
            half = (there - here) / 2 / there
            rows.append(Row(i - 1, 0, 1, c_x=0.5 + half, c_x0=-half, c_anchor=0.5))
        else:  # dpmpp_2m: extrapolates x_0 from the previous one, with equal steps in log n
            extra = 0.5 if method == "dpmpp_2m" and i < steps else 0.0
            gain = 1 - there / here
            rows.append(
                Row(
                    i,
                    0,
                    1,
                    c_x=there / here,
                    c_x0=gain * (1 + extra),
                    c_history=(-gain * extra,) if extra else (),
                )
            )
    x = random(4, 2)
    result = sample(
        denoiser(table, PREDICTIONS.build("x_start")),
        Plan(tuple(rows)),
        x.shape,
        x_init=x,
        dtype=torch.float64,
    )
    exact = x * math.sqrt((0.25 + 0.1**2) / (0.25 + 10**2))
    return ((result - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_the_loop_carries_anchor_and_history(method: str, order: int) -> None:
    """Hand-made plans of known order: halving the step divides the error by 2^order."""
    errors = [ode_error(method, steps) for steps in (40, 80, 160)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_history_is_newest_first_and_holds_what_is_pushed() -> None:
    rows = (
        Row(5, 0, 1, c_x=1, c_x0=0),
        Row(4, 0, 1, c_x=1, c_x0=0, m_x=1, m_x0=2),
        Row(3, 0, 1, c_x=1, c_x0=0, push=False),
        Row(2, 0, 1, c_x=0, c_x0=0, c_history=(1, 10)),
    )
    x = torch.full((2, 3), 7.0, dtype=torch.float64)
    result = sample(lambda x, t: t[:, None].expand_as(x), Plan(rows), x.shape, x_init=x, dtype=torch.float64)
    assert torch.equal(result, torch.full_like(x, (7 + 2 * 4) + 10 * 5))


# randomness


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("name", "parameters"), [("ddpm", {"steps": 8}), ("ddim", {"steps": 8, "eta": 0.5})])
def test_an_image_does_not_depend_on_its_batch(
    name: str, parameters: dict[str, object], dtype: torch.dtype
) -> None:
    plan = SAMPLERS.build(name, **parameters).plan(TABLE)
    denoise = denoiser(TABLE, PREDICTIONS.build("epsilon"))
    together = sample(denoise, plan, (7, 3, 5, 5), seed=2**63 + 5, dtype=dtype)
    assert together.dtype == dtype
    for ids in ([0, 1, 2], [3], [6, 4, 5]):
        apart = sample(denoise, plan, (len(ids), 3, 5, 5), seed=2**63 + 5, sample_ids=ids, dtype=dtype)
        assert torch.equal(apart, together[ids])
    assert not torch.equal(sample(denoise, plan, (7, 3, 5, 5), seed=6, dtype=dtype), together)


def test_noise_is_drawn_for_the_row() -> None:
    """The default noise is the generator's, with a stream for each row except the last."""
    plan = SAMPLERS.build("ddpm", steps=5, clip=None).plan(TABLE)
    denoise = denoiser(TABLE, PREDICTIONS.build("epsilon"))
    ids = torch.tensor([4, 2])
    start = ops.normal(ids, ops.stream(ops.Purpose.INIT, 0), 9, (6,)) * plan.init_scale
    asked: list[int] = []

    def injected(k: int, shape: tuple[int, ...]) -> Tensor:
        asked.append(k)
        return ops.normal(ids, ops.stream(ops.Purpose.SAMPLE, k), 9, shape[1:])

    expected = sample(denoise, plan, (2, 6), x_init=start, noise=injected)
    assert torch.equal(sample(denoise, plan, (2, 6), seed=9, sample_ids=ids), expected)
    assert asked == [0, 1, 2, 3]


def test_injected_noise_counts_the_rows_that_have_noise() -> None:
    rows = (
        Row(3, 0, 1, 1, 0),
        Row(2, 0, 1, 1, 0, c_noise=2.0),
        Row(1, 0, 1, 1, 0),
        Row(0, 0, 1, 1, 0, c_noise=3.0),
    )
    x = torch.zeros(2, 4)
    result = sample(
        lambda x, t: x, Plan(rows), (2, 4), x_init=x, noise=lambda k, shape: torch.full(shape, 10.0**k)
    )
    assert torch.equal(result, torch.full((2, 4), 2.0 + 30.0))


# the arguments


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_denoise_sees_the_plans_indices(dtype: torch.dtype, expected: torch.dtype) -> None:
    times: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert (x.shape, x.dtype, t.shape, t.dtype) == ((2, 3), dtype, (2,), expected)
        assert not torch.is_grad_enabled()
        times.append(t)
        return x

    sample(denoise, SAMPLERS.build("ddim", timesteps=[999, 100.25, 7]).plan(TABLE), (2, 3), dtype=dtype)
    assert [t.tolist() for t in times] == [[999, 999], [100.25, 100.25], [7, 7]]


def test_each_rows_t_may_be_kept_and_changed() -> None:
    plan, times = SAMPLERS.build("ddim", steps=6).plan(TABLE), list[Tensor]()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert torch.equal(t, torch.full((SHAPE[0],), plan.rows[len(times)].t))
        times.append(t)
        t += 1
        return x

    sample(denoise, plan, SHAPE)
    assert [t.tolist() for t in times] == [[row.t + 1] * SHAPE[0] for row in plan]


def test_the_last_image_is_the_clipped_prediction() -> None:
    for name in ("ddpm", "ddim"):
        plan = SAMPLERS.build(name, steps=4, clip=0.75).plan(TABLE, "x_start")
        images = sample(lambda x, t: torch.linspace(-1, 1, 9).expand_as(x), plan, (2, 9))
        assert torch.equal(images, torch.linspace(-1, 1, 9).clamp(-0.75, 0.75).expand(2, 9))


def test_x_init_is_used_as_it_is_and_kept() -> None:
    exploding = Table(torch.ones(1000, dtype=torch.float64), TABLE.sigma_ve)
    plan = SAMPLERS.build("ddim", steps=3, clip=None).plan(exploding)
    first: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        first.append(x.clone())
        return torch.zeros_like(x)

    x = torch.full((2, 5), 3.0)
    sample(denoise, plan, (2, 5), x_init=x)
    assert torch.equal(first[0], x)
    assert torch.equal(x, torch.full((2, 5), 3.0))
    first.clear()
    sample(denoise, plan, (400, 50))
    assert first[0].std().item() == pytest.approx(math.hypot(1, TABLE.sigma_ve[-1].item()), rel=0.02)


def test_callback_sees_every_state_and_changes_nothing() -> None:
    plan = SAMPLERS.build("ddpm", steps=6).plan(TABLE)
    denoise = denoiser(TABLE, PREDICTIONS.build("epsilon"))
    events: list[tuple[int, Row, Tensor, Tensor]] = []
    images = sample(denoise, plan, (2, 8), callback=lambda *event: events.append(event))
    assert torch.equal(images, sample(denoise, plan, (2, 8)))
    assert [(index, row) for index, row, _, _ in events] == list(enumerate(plan))
    assert torch.equal(events[-1][2], images)
    x_next, m = (
        events[2][2],
        events[3][3],
    )  # states that a callback keeps are not overwritten: the next x_0 follows from them
    row = plan.rows[3]
    expected = row.x0_from_x * x_next + row.x0_from_output * denoise(x_next, torch.full((2,), row.t))
    torch.testing.assert_close(m, expected.clamp(-1, 1))


@pytest.mark.parametrize("wrong", [{"x_init": torch.zeros(2, 3)}, {"sample_ids": [1, 2]}])
def test_wrong_shapes_are_refused(wrong: dict[str, object]) -> None:
    plan = SAMPLERS.build("ddim", steps=2).plan(TABLE)
    with pytest.raises(ValueError, match=r"\[3, 3\]"):
        sample(lambda x, t: x, plan, (3, 3), **wrong)  # type: ignore[arg-type]


def test_parameters_that_require_a_gradient_do_not_get_in_the_way() -> None:
    layer = torch.nn.Linear(6, 6)
    images = sample(lambda x, t: layer(x), SAMPLERS.build("ddpm", steps=3).plan(TABLE), (2, 6))
    assert not images.requires_grad
