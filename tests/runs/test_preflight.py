"""The preflight's numbers against their formulas, and that it is silent about sound specs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result

from ddpmx.runs import preflight
from ddpmx.spec import loading as spec_file
from ddpmx.spec.same_objective import same_objective
from ddpmx.spec.schema import Spec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def variant(tiny: Path) -> Callable[..., Spec]:
    """The tiny spec with overrides."""
    return lambda *overrides: spec_file.load(tiny, overrides)


def notes(spec: Spec) -> list[str]:
    return preflight.of_combination(spec, spec.schedule.table())


@pytest.mark.parametrize("name", ["quickstart", "mnist", "cifar10"])
def test_nothing_is_said_of_sound_specs(name: str) -> None:
    spec = spec_file.load(ROOT / "experiments" / f"{name}.yaml")
    assert [note for note in notes(spec) if not note.startswith("schedule")] == []
    assert preflight.of_budget(spec, 50_000, spec.schedule.table()) == []


def test_signal_left_at_the_end_is_a_note_with_its_share_and_a_remedy(variant: Callable[..., Spec]) -> None:
    """The issue's example: linear with T = 100 keeps 60 % of the image."""
    schedule = "schedule={name: linear, timesteps: 100}"
    (note,) = notes(variant(schedule))
    assert "60% of the image is still there in the last of 100 steps" in note
    assert "rescale: true" in note
    assert notes(variant("schedule={name: linear, timesteps: 100, rescale: true}")) == []
    (note,) = notes(variant("schedule={name: quadratic, timesteps: 100}"))
    assert "zero_terminal_snr: true" in note
    assert (
        notes(variant("schedule={name: quadratic, timesteps: 100, zero_terminal_snr: true}", "prediction=v"))
        == []
    )


def test_the_priors_bits_are_the_divergence_of_two_gaussians(variant: Callable[..., Spec]) -> None:
    """KL(N(signal·x_0, sigma²) ‖ N(0, 1)), averaged over x_0 = ±1, by torch.distributions; scaled for exploding variance."""
    table = variant("schedule={name: linear, timesteps: 100}").schedule.table()
    signal, sigma = table.signal[-1], table.sigma[-1]
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(signal, sigma), torch.distributions.Normal(0.0, 1.0)
    )
    assert preflight.prior_bits(table) == pytest.approx(float(exact) / math.log(2), rel=1e-9)
    exploding = variant("schedule={name: edm, timesteps: 100}").schedule.table()
    assert preflight.prior_bits(exploding) == pytest.approx(0.5 * math.log2(1 + 80.0**-2), rel=1e-9)


def test_an_index_that_carries_most_of_the_weight_is_named(variant: Callable[..., Spec]) -> None:
    spec = variant("schedule={name: linear, timesteps: 500}", "loss.weighting={name: vlb, clip: 1000}")
    weight = spec.loss.weighting.weights(spec.schedule.table(), "epsilon")
    share = float(weight[0] / weight.sum())
    (note,) = [note for note in notes(spec) if note.startswith("loss")]
    assert f"index 0 carries {share:.0%} of the weight that 'vlb'" in note
    assert share > 0.9


def test_a_time_embedding_beyond_its_range_is_a_note(variant: Callable[..., Spec]) -> None:
    long = "schedule={name: cosine, timesteps: 100000}"
    (note,) = [note for note in notes(variant(long)) if note.startswith("model.time")]
    assert "99,999" in note
    assert not [
        note for note in notes(variant(long, "model.time=scaled_1000")) if note.startswith("model.time")
    ]


def test_an_average_longer_than_the_run_is_a_note(variant: Callable[..., Spec]) -> None:
    (note,) = preflight.of_budget(
        variant("train.ema={decay: 0.999, warmup: false}", "evaluate.grid=1"),
        1438,
        variant().schedule.table(),
    )
    assert "remembers 1,000 steps, the run has 12" in note


def test_evaluation_that_costs_more_than_training_is_a_note_with_both_costs(
    variant: Callable[..., Spec],
) -> None:
    """12 steps of 64 images, an epoch's grid of 4 and one evaluation of 8,000 images in 3 network passes each."""
    spec, table = (
        variant("evaluate.metrics=[{name: fd_cnn}]", "evaluate.samples=8000"),
        variant().schedule.table(),
    )
    (note,) = preflight.of_budget(spec, 1438, table)
    assert f"its {8000 + 4:,} images take {3 * 8004:,} passes" in note
    assert f"about {3 * 12 * 64:,}" in note
    (note,) = preflight.of_budget(
        variant("evaluate.metrics=[{name: fd_cnn}]", "evaluate.samples=8000", "model.self_condition=true"),
        1438,
        table,
    )
    assert f"about {int(3.5 * 12 * 64):,}" in note  # half of the steps run the network once more
    assert preflight.of_budget(variant("evaluate.samples=8000"), 1438, table) == []


def test_bfloat16_on_a_processor_without_it_is_a_note(
    variant: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, half, full = (
        torch.device("cpu"),
        variant("train.precision=bfloat16"),
        variant("train.precision=float32"),
    )
    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        assert [("bfloat16" in note) for note in preflight.of_device(half, cpu)] == ([] if has else [True])
        assert preflight.of_device(full, cpu) == preflight.of_device(half, torch.device("cuda")) == []


def test_validate_and_show_say_what_the_preflight_finds(
    ddpmx: Callable[..., Result], tiny: Path, tmp_path: Path
) -> None:
    tiny.write_text(
        tiny.read_text().replace("{name: cosine, timesteps: 20}", "{name: linear, timesteps: 20}")
    )
    result = ddpmx("validate", tiny)
    assert result.code == 0
    left = math.sqrt(math.prod(1 - (1e-4 + (0.02 - 1e-4) * i / 19) for i in range(20)))
    said = f"{left:.0%} of the image is still there in the last of 20 steps"
    assert f"note: schedule: {said}" in result.out
    page = tmp_path / "page.html"
    assert ddpmx("show", tiny, "--out", page).code == 0
    assert said in page.read_text()


@pytest.mark.parametrize(
    ("a", "b", "factor"),
    [
        # SNR·g/(SNR + g) is g·SNR/(k + SNR) at k = g
        (("loss.weighting={name: p2, k: 2.0}",), ("loss.weighting={name: soft_min_snr, gamma: 2.0}",), 2.0),
        (("loss.weighting=min_snr",), ("loss.weighting=min_snr", "prediction=v"), 1.0),
        ((), ("loss.weighting=snr", "prediction=velocity"), 1.0),
        (
            ("loss.weighting={name: sigmoid, bias: 2.0}",),
            ("loss.weighting={name: soft_min_snr, gamma: 7.38905609893065}",),
            1.0,
        ),
        ((), ("time={name: mode, unbiased: true}",), 1.0),
        ((), ("time={name: mode}",), None),
        ((), ("prediction=v",), None),
        ((), ("schedule.timesteps=21",), None),
        (("loss.norm=l1",), ("loss.norm=l1", "loss.weighting=snr"), None),
        ((), ("loss.weighting={name: learned}",), None),
        (("model.learned_variance=true",), ("model.learned_variance=true", "loss.weighting=snr"), None),
    ],
)
def test_two_ways_to_write_one_objective_are_told_with_their_factor(
    variant: Callable[..., Spec], a: tuple[str, ...], b: tuple[str, ...], factor: float | None
) -> None:
    one, other = variant(*a), variant(*b, "name=other")
    found, back = same_objective(one, other), same_objective(other, one)
    if factor is None:
        assert found is back is None
        assert preflight.of_sweep([one, other]) == []
    else:
        assert found == pytest.approx(factor, rel=1e-4)
        assert back == pytest.approx(1 / factor, rel=1e-4)
        (note,) = preflight.of_sweep([one, other])
        assert note.startswith("'tiny' and 'other' are the same objective")
        assert ("up to a factor of 2.00: they differ in loss.weighting.name" in note) == (factor == 2)


def test_one_objective_on_a_finer_grid_of_the_same_range_is_the_same(variant: Callable[..., Spec]) -> None:
    """A log-SNR that falls evenly has the same ends at every T; the mean over t does not change its scale."""
    coarse, fine = (
        variant(f"schedule={{name: linear_log_snr, timesteps: {t}}}", "prediction=v") for t in (400, 3991)
    )
    assert coarse.schedule.table().log_snr[[0, -1]].tolist() == pytest.approx(
        fine.schedule.table().log_snr[[0, -1]].tolist()
    )
    # of p(log-SNR) = (T − 1)/(T·width) on a table the first factor is left
    assert same_objective(coarse, fine) == pytest.approx((3990 / 3991) / (399 / 400), rel=1e-3)


def test_a_sweep_of_other_fields_or_of_seeds_has_no_such_pair(variant: Callable[..., Spec]) -> None:
    specs = [
        variant("name=a"),
        variant("name=b", "train.lr=1e-4"),
        variant("name=c", "loss.weighting=snr", "seed=1"),
        variant("name=d"),
    ]
    assert preflight.of_sweep(specs) == []
    (note,) = preflight.of_sweep([*specs, variant("name=e", "loss.weighting=snr", "train.lr=1e-4")])
    assert note == "'b' and 'e' are the same objective: they differ in loss.weighting.name only"


def test_guided_rows_count_twice(variant: Callable[..., Spec]) -> None:
    """3 rows; with an interval, those whose log-SNR is inside."""
    told, table = "model.classes=true", variant().schedule.table()
    for overrides, passes in (
        ((), 3),
        ((told,), 3),
        ((told, "guidance.weight=2"), 6),
        ((told, "guidance.weight=0"), 3),
        ((told, "guidance={weight: 0, rescale: 0.5}"), 6),
    ):
        assert preflight.passes_per_image(variant(*overrides), table) == passes
    rows = [row.t for row in variant().evaluate.sampler.plan(table)]
    levels = table.log_snr_at(torch.tensor(rows, dtype=torch.float64)).tolist()
    interval = f"guidance={{weight: 2, interval: [{levels[1]}, {levels[2]}]}}"
    assert preflight.passes_per_image(variant(told, interval), table) == 3 + 1
