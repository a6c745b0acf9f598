"""Image to image, inpainting with resampling, and interpolation between two starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result
from PIL import Image
from torch import Tensor

import ddpmx
from ddpmx import ops
from ddpmx.images import save_png
from ddpmx.ops import Purpose, stream
from ddpmx.rows import Plan, Row
from ddpmx.runs.run import run as run_spec
from ddpmx.sampling.editing import slerp
from ddpmx.spec.loading import load
from ddpmx.testing.gaussian import denoiser

TABLE = ddpmx.SCHEDULES.build("linear", timesteps=1000).table()
EPSILON = ddpmx.PREDICTIONS.build("epsilon")
SHAPE = (3, 1, 4, 4)
IDS = torch.arange(3)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# image to image


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "heun"])
@pytest.mark.parametrize("strength", [0.02, 0.3, 0.99, 1.0])
def test_strength_keeps_diffusers_timesteps(name: str, strength: float) -> None:
    """diffusers' image-to-image pipelines skip steps − int(steps·strength) of the timesteps."""
    sampler = ddpmx.SAMPLERS.build(name, steps=50)
    whole = [row.t for row in sampler.plan(TABLE).rows if row.t in sampler_grid(name)]
    kept = [row.t for row in sampler.plan(TABLE, strength=strength).rows if row.t in sampler_grid(name)]
    start = max(50 - min(int(50 * strength), 50), 0)
    grid = sorted(set(whole), reverse=True)
    assert sorted(set(kept), reverse=True) == grid[start:]


def sampler_grid(name: str) -> tuple[float, ...]:
    from ddpmx.samplers.grid import spaced

    return spaced(ddpmx.SAMPLERS.build(name).grid, TABLE, 50)


@pytest.mark.parametrize("strength", [0.0, 0.01, 1.5, math.nan])
def test_wrong_strength(strength: float) -> None:
    with pytest.raises(ddpmx.SpecError) as caught:
        ddpmx.SAMPLERS.build("ddim", steps=50).plan(TABLE, strength=strength)
    assert caught.value.field == "strength"


def test_image_starts_from_its_noised_self() -> None:
    plan = ddpmx.SAMPLERS.build("ddim", steps=50).plan(TABLE, strength=0.4)
    image, seen = random(*SHAPE).clamp(-1, 1), []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x.clone(), float(t[0])))
        return torch.zeros_like(x)

    ddpmx.sample(denoise, plan, SHAPE, seed=5, image=image, dtype=torch.float64)
    x, t = seen[0]
    signal, sigma = TABLE.signal[int(t)], TABLE.sigma[int(t)]
    epsilon = ops.normal(IDS, stream(Purpose.INIT, 0), 5, SHAPE[1:]).double()
    torch.testing.assert_close(
        x, signal * image + sigma * epsilon, rtol=1e-6, atol=1e-6
    )  # the coefficients of the op are float32


def test_weaker_changes_stay_nearer() -> None:
    """On Gaussian data, the ODE keeps less of the image if it starts with more noise."""
    image = torch.full((1, 1, 50, 50), 0.8)
    distances = []
    for strength in (0.2, 0.5, 1.0):
        plan = ddpmx.SAMPLERS.build("ddim", steps=100, clip=None).plan(TABLE, strength=strength)
        distances.append(
            (ddpmx.sample(denoiser(TABLE, EPSILON), plan, image.shape, image=image) - image)
            .square()
            .mean()
            .item()
        )
    assert distances == sorted(distances)
    assert distances[0] < distances[-1] / 2


# inpainting


def test_a_mask_of_one_gives_what_is_known_and_of_zero_changes_nothing() -> None:
    plan = ddpmx.SAMPLERS.build("ddpm", steps=20).plan(TABLE)
    known, denoise = random(*SHAPE).float(), denoiser(TABLE, EPSILON)
    assert torch.equal(ddpmx.sample(denoise, plan, SHAPE, known=known, mask=torch.ones(1, 1, 4, 4)), known)
    plain = ddpmx.sample(denoise, plan, SHAPE)
    assert torch.equal(ddpmx.sample(denoise, plan, SHAPE, known=known, mask=torch.zeros(SHAPE)), plain)


def test_inpainting_is_diffusers_repaint(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import RePaintScheduler
    from diffusers.schedulers import scheduling_repaint

    steps, seed = 20, 7
    scheduler = RePaintScheduler(1000, eta=1.0, clip_sample=False)  # its clip does not change ε, ours does
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = (
        TABLE.alpha_bar,
        torch.tensor(1.0, dtype=torch.float64),
    )
    scheduler.num_inference_steps = steps
    plan = ddpmx.SAMPLERS.build("ddpm", steps=steps, grid="leading", clip=None).plan(TABLE)
    known, mask = random(*SHAPE).clamp(-1, 1), (random(1, 1, 4, 4, seed=1) > 0).double()
    denoise = denoiser(TABLE, EPSILON, mean=0.3)

    def key(purpose: Purpose, index: int) -> Tensor:
        return ops.normal(IDS, stream(purpose, index), seed, SHAPE[1:]).double()

    def blend(known: Tensor, x: Tensor) -> Tensor:
        return mask * known + (1 - mask) * x

    signal, sigma = plan.levels[0]
    x = blend(signal * known + sigma * key(Purpose.KNOWN, 0), random(*SHAPE, seed=2))
    for index, row in enumerate(plan):
        # diffusers uses one noise for both parts; each pixel is in one of them
        theirs = blend(key(Purpose.KNOWN, index + 1), key(Purpose.SAMPLE, index))
        monkeypatch.setattr(scheduling_repaint, "randn_tensor", lambda shape, theirs=theirs, **unused: theirs)
        t = torch.full((3,), row.t, dtype=torch.float64)
        x = scheduler.step(denoise(x, t), int(row.t), x, known, mask).prev_sample
    ours = ddpmx.sample(
        denoise,
        plan,
        SHAPE,
        seed=seed,
        x_init=random(*SHAPE, seed=2),
        known=known,
        mask=mask,
        dtype=torch.float64,
    )
    assert ((ours - x).norm() / x.norm()).item() < 1e-6


@pytest.mark.parametrize(("steps", "jump", "times"), [(31, 5, 3), (30, 10, 2), (12, 1, 4), (9, 20, 3)])
def test_resampling_visits_the_papers_levels(steps: int, jump: int, times: int) -> None:
    """The list of levels of RePaint in diffusers, where each decrease is an evaluation."""
    from diffusers import RePaintScheduler

    scheduler = RePaintScheduler(steps)
    scheduler.set_timesteps(steps, jump, times)
    theirs = [*scheduler.timesteps.tolist(), -1]
    table = ddpmx.SCHEDULES.build("linear", timesteps=steps).table()
    plan = ddpmx.SAMPLERS.build("ddpm").plan(table).resampled(times, jump)
    assert [row.t for row in plan if row.evaluates] == [a for a, b in pairwise(theirs) if b < a]


def test_a_jump_back_adds_the_schedules_noise() -> None:
    """A state with the variance of its level gets the variance of the level that the row jumps to."""
    plan = ddpmx.SAMPLERS.build("ddpm", steps=100).plan(TABLE).resampled(3, 10)
    jumps = [(i, row) for i, row in enumerate(plan) if not row.evaluates]
    assert len(jumps) == 2 * 9
    for i, row in jumps:
        (signal, sigma), (to_signal, to_sigma) = plan.levels[i], plan.levels[i + 1]
        assert row.c_x * signal == pytest.approx(to_signal, rel=1e-12)
        assert math.hypot(row.c_x * sigma, row.c_noise) == pytest.approx(to_sigma, rel=1e-12)


def test_resampling_brings_the_conditional_distribution() -> None:
    """Two pixels, N(0, 1) with correlation 0.9, and the first is 1: then the second is N(0.9, 0.19).

    A single pass misses that; resampling does not.
    """
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        (signal,), (sigma,) = TABLE.at(t[:1].double())
        gain = (
            signal
            * covariance
            @ torch.linalg.inv(signal**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64))
        )
        x0 = (x.double().flatten(1) @ gain.T).view_as(x)
        return ((x - signal * x0) / sigma).to(x.dtype)

    shape = (4000, 1, 1, 2)
    plan = ddpmx.SAMPLERS.build("ddpm", steps=100, clip=None, variance="beta").plan(TABLE)
    known = {"known": torch.ones(shape), "mask": torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)}
    once = ddpmx.sample(denoise, plan, shape, **known)[:, 0, 0, 1]
    often = ddpmx.sample(denoise, plan.resampled(8, 5), shape, **known)[:, 0, 0, 1]
    assert abs(often.mean().item() - 0.9) < 0.5 * abs(once.mean().item() - 0.9)
    assert often.mean().item() == pytest.approx(0.9, abs=0.05)
    assert often.std().item() == pytest.approx(math.sqrt(0.19), abs=0.06)


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "deis"])
def test_only_steps_that_stand_alone_can_be_resampled(name: str) -> None:
    plan = ddpmx.SAMPLERS.build(name, steps=10).plan(TABLE)
    with pytest.raises(ValueError, match="one evaluation per step"):
        plan.resampled(2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"known": torch.zeros(SHAPE)}, "both known and mask"),
        ({"image": torch.zeros(SHAPE), "x_init": torch.zeros(SHAPE)}, "two different starts"),
        ({"image": torch.zeros(2, 1, 4, 4)}, "shape"),
        ({"known": torch.zeros(2, 1, 4, 4), "mask": torch.ones(1)}, "known should have"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Tensor], match: str) -> None:
    plan = ddpmx.SAMPLERS.build("ddim", steps=5).plan(TABLE)
    with pytest.raises(ValueError, match=match):
        ddpmx.sample(denoiser(TABLE, EPSILON), plan, SHAPE, **arguments)


def test_a_plan_without_levels_cannot_edit() -> None:
    with pytest.raises(ValueError, match="levels"):
        ddpmx.sample(denoiser(TABLE, EPSILON), Plan((Row(0, 0, 1, 0, 1),)), SHAPE, image=torch.zeros(SHAPE))


# slerp


def test_slerp_goes_along_the_great_circle() -> None:
    a, b = random(3, 8, 8, seed=1), random(3, 8, 8, seed=2)
    a, b = a / a.norm(), b / b.norm()
    share = torch.linspace(0, 1, 9, dtype=torch.float64)
    points = slerp(a, b, share)
    torch.testing.assert_close(points[0], a)
    torch.testing.assert_close(points[-1], b)
    norms = points.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    angles = torch.stack([torch.acos((p * q).sum()) for p, q in pairwise(points)])
    torch.testing.assert_close(angles, torch.full_like(angles, (torch.acos((a * b).sum()) / 8).item()))


def test_slerp_of_a_point_and_itself_is_that_point() -> None:
    a = random(2, 4, 4)
    torch.testing.assert_close(slerp(a, a, torch.tensor([0.0, 0.3, 1.0])), a.expand(3, 2, 4, 4))


# the command


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run, a picture of a digit and a mask that keeps its upper half."""
    workspace = tmp_path_factory.mktemp("editing")
    (workspace / "tiny.yaml").write_text(TINY)
    run = run_spec(load(workspace / "tiny.yaml"), out=workspace / "runs", device=torch.device("cpu"))
    digit = ddpmx.DATASETS.build("digits").load(workspace).test.pixels[3]
    save_png(digit, workspace / "digit.png")
    save_png(
        torch.cat((torch.full((1, 4, 8), 255), torch.zeros(1, 4, 8)), dim=1).to(torch.uint8),
        workspace / "mask.png",
    )
    run.rename(workspace / "run")
    return workspace


def sampled(ddpmx: Callable[..., Result], workspace: Path, *options: object) -> Tensor:
    """The images of the command `sample`, uint8 [n, h, w]."""
    result = ddpmx("sample", workspace / "run", "-n", 4, "--out", workspace / "out.npz", *options)
    assert result.code == 0, result.err
    return torch.tensor(np.load(workspace / "out.npz")["images"])[..., 0]


def test_sample_completes_a_picture(ddpmx: Callable[..., Result], workspace: Path) -> None:
    images = sampled(
        ddpmx,
        workspace,
        "--image",
        workspace / "digit.png",
        "--mask",
        workspace / "mask.png",
        "--resample",
        2,
    )
    digit = torch.tensor(np.array(Image.open(workspace / "digit.png")))
    assert torch.equal(images[:, :4], digit[:4].expand(4, 4, 8))
    assert not torch.equal(images[:, 4:], digit[4:].expand(4, 4, 8))
    assert not torch.equal(images[0], images[1])


def test_sample_changes_a_picture_by_its_strength(ddpmx: Callable[..., Result], workspace: Path) -> None:
    digit = torch.tensor(np.array(Image.open(workspace / "digit.png"))).float()
    near, far = (
        (
            sampled(
                ddpmx,
                workspace,
                "--image",
                workspace / "digit.png",
                "--strength",
                s,
                "-s",
                "sampler.clip=null",
            ).float()
            - digit
        )
        .abs()
        .mean()
        for s in (0.1, 1.0)
    )
    assert near < far / 2


def test_a_folder_of_pictures_is_taken_in_turn(ddpmx: Callable[..., Result], workspace: Path) -> None:
    pictures = workspace / "pictures"
    pictures.mkdir()
    for name, value in (("a.png", 0), ("b.png", 255)):
        save_png(torch.full((1, 8, 8), value, dtype=torch.uint8), pictures / name)
    save_png(torch.full((1, 8, 8), 255, dtype=torch.uint8), workspace / "all.png")
    images = sampled(ddpmx, workspace, "--image", pictures, "--mask", workspace / "all.png", "--resample", 1)
    assert images.flatten(1).float().mean(1).tolist() == [0, 255, 0, 255]


def test_sample_between_two_seeds(ddpmx: Callable[..., Result], workspace: Path) -> None:
    """The ends are the first image of each seed, where the sampler injects no noise."""
    options = ("--sampler", "ddim", "--steps", 4)
    images = sampled(ddpmx, workspace, "--seed", 3, "--to-seed", 9, *options)
    for end, seed in (
        (images[0], 3),
        (images[-1], 9),
    ):  # from other batches, where the network may round differently
        assert (end.int() - sampled(ddpmx, workspace, "--seed", seed, *options)[0].int()).abs().max() <= 1
    assert not torch.equal(images[1], images[2])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--strength", 0.5), "--strength"),
        (("--mask", "mask.png"), "--mask"),
        (("--image", "none.png"), "--image"),
        (("--image", "digit.png", "--to-seed", 3), "--to-seed"),
        (("--image", "digit.png", "--strength", 0.01), "--strength"),
        (("--image", "digit.png", "--resample", 3), "--resample"),
        (("--image", "digit.png", "--mask", "mask.png", "--sampler", "heun", "--steps", 5), "--resample"),
        (("--image", "tiny.yaml"), "--image"),
        (("--sampler", "dppm"), "--sampler dppm: sampler.name"),
        (("--steps", 21), "--steps 21: sampler.steps"),
    ],
)
def test_wrong_options_are_named(
    ddpmx: Callable[..., Result], workspace: Path, options: tuple[object, ...], field: str
) -> None:
    files = [
        workspace / option if isinstance(option, str) and "." in option else option for option in options
    ]
    result = ddpmx("sample", workspace / "run", *files)
    assert result.code == 2
    assert result.err.startswith(f"error: {field}: ")
    assert len(result.err.splitlines()) == 1
