"""The preflight's numbers match their formulas, and sound specs get no notes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result

from ddpmx.process import processor
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
    return preflight.spec_notes(spec, spec.schedule.table())


@pytest.mark.parametrize("name", ["quickstart", "mnist", "cifar10"])
def test_sound_specs_have_no_notes(name: str) -> None:
    spec = spec_file.load(ROOT / "experiments" / f"{name}.yaml")
    assert [note for note in notes(spec) if not note.startswith("schedule")] == []
    assert preflight.budget_notes(spec, 50_000, spec.schedule.table()) == []


def test_signal_left_at_the_end_is_a_note_with_its_share_and_a_remedy(variant: Callable[..., Spec]) -> None:
    """With T = 100, the linear schedule keeps 60 % of the image."""
    schedule = "schedule={name: linear, timesteps: 100}"
    (note,) = notes(variant(schedule))
    assert "60% of the image is left at the last of 100 timesteps" in note
    assert "rescale: true" in note
    assert notes(variant("schedule={name: linear, timesteps: 100, rescale: true}")) == []
    (note,) = notes(variant("schedule={name: quadratic, timesteps: 100}"))
    assert "zero_terminal_snr: true" in note
    assert (
        notes(variant("schedule={name: quadratic, timesteps: 100, zero_terminal_snr: true}", "prediction=v"))
        == []
    )


def test_the_priors_bits_are_the_divergence_of_two_gaussians(variant: Callable[..., Spec]) -> None:
    """KL(N(signal·x_0, sigma²) ‖ N(0, 1)) for x_0 = ±1, by torch.distributions; for edm, x is rescaled."""
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
    fraction = float(weight[0] / weight.sum())
    (note,) = [note for note in notes(spec) if note.startswith("loss")]
    assert f"'vlb' gives {fraction:.0%} of the total weight" in note
    assert note.endswith("index 0")
    assert fraction > 0.9


def test_a_time_embedding_beyond_its_range_is_a_note(variant: Callable[..., Spec]) -> None:
    long = "schedule={name: cosine, timesteps: 100000}"
    (note,) = [note for note in notes(variant(long)) if note.startswith("model.time")]
    assert "99,999" in note
    assert not [
        note for note in notes(variant(long, "model.time=scaled_1000")) if note.startswith("model.time")
    ]


def test_an_average_longer_than_the_run_is_a_note(variant: Callable[..., Spec]) -> None:
    (note,) = preflight.budget_notes(
        variant("train.ema={decay: 0.999, warmup: false}", "evaluate.grid=1"),
        1438,
        variant().schedule.table(),
    )
    assert "covers about 1,000 steps, but the run has only 12" in note


def test_evaluation_that_costs_more_than_training_is_a_note_with_both_costs(
    variant: Callable[..., Spec],
) -> None:
    """12 steps of 64 images, one grid of 4 images and one evaluation of 8,000, each in 3 network passes."""
    spec, table = (
        variant("evaluate.metrics=[{name: fd_cnn}]", "evaluate.samples=8000"),
        variant().schedule.table(),
    )
    (note,) = preflight.budget_notes(spec, 1438, table)
    assert f"its {8000 + 4:,} images takes {3 * 8004:,} passes" in note
    assert f"about {3 * 12 * 64:,}" in note
    (note,) = preflight.budget_notes(
        variant("evaluate.metrics=[{name: fd_cnn}]", "evaluate.samples=8000", "model.self_condition=true"),
        1438,
        table,
    )
    assert f"about {int(3.5 * 12 * 64):,}" in note  # half of the steps run the network once more
    assert preflight.budget_notes(variant("evaluate.samples=8000"), 1438, table) == []


def test_bfloat16_on_a_processor_without_it_is_a_note(
    variant: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, half, full = (
        torch.device("cpu"),
        variant("train.precision=bfloat16"),
        variant("train.precision=float32"),
    )
    for has in (True, False):
        monkeypatch.setattr(processor, "has_bfloat16", lambda has=has: has)
        notes = preflight.device_notes(half, cpu)
        assert len(notes) == int(not has)
        assert all(f"{preflight.EMULATED_BFLOAT16} times as long" in note for note in notes)
        assert preflight.device_notes(full, cpu) == preflight.device_notes(half, torch.device("cuda")) == []
    monkeypatch.setattr(preflight, "choose_device", lambda name: cpu)
    assert set(notes) <= set(preflight.examine(half, {})[1])  # what `validate` prints


def test_validate_and_show_report_the_preflights_notes(
    ddpmx: Callable[..., Result], tiny: Path, tmp_path: Path
) -> None:
    tiny.write_text(
        tiny.read_text().replace("{name: cosine, timesteps: 20}", "{name: linear, timesteps: 20}")
    )
    result = ddpmx("validate", tiny)
    assert result.code == 0
    left = math.sqrt(math.prod(1 - (1e-4 + (0.02 - 1e-4) * i / 19) for i in range(20)))
    expected = f"{left:.0%} of the image is left at the last of 20 timesteps"
    assert f"note: schedule: {expected}" in result.out
    page = tmp_path / "page.html"
    assert ddpmx("show", tiny, "--out", page).code == 0
    assert expected in page.read_text()


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
def test_two_ways_to_write_one_objective_are_reported_with_their_factor(
    variant: Callable[..., Spec], a: tuple[str, ...], b: tuple[str, ...], factor: float | None
) -> None:
    one, other = variant(*a), variant(*b, "name=other")
    forth, back = same_objective(one, other), same_objective(other, one)
    if factor is None:
        assert forth is back is None
        assert preflight.sweep_notes([one, other]) == []
    else:
        assert forth == pytest.approx(factor, rel=1e-4)
        assert back == pytest.approx(1 / factor, rel=1e-4)
        (note,) = preflight.sweep_notes([one, other])
        assert note.startswith("'tiny' and 'other' have the same objective")
        assert ("up to a factor of 2.00: they differ only in loss.weighting.name" in note) == (factor == 2)


def test_one_objective_on_a_finer_grid_of_the_same_range_is_the_same(variant: Callable[..., Spec]) -> None:
    """A linear log-SNR has the same ends at every T, and the mean over t does not change with T."""
    coarse, fine = (
        variant(f"schedule={{name: linear_log_snr, timesteps: {t}}}", "prediction=v") for t in (400, 3991)
    )
    assert coarse.schedule.table().log_snr[[0, -1]].tolist() == pytest.approx(
        fine.schedule.table().log_snr[[0, -1]].tolist()
    )
    # on a table p(log-SNR) = (T − 1)/(T·width), so the factor (T − 1)/T remains
    assert same_objective(coarse, fine) == pytest.approx((3990 / 3991) / (399 / 400), rel=1e-3)


def test_specs_that_differ_in_other_fields_or_seeds_are_no_such_pair(variant: Callable[..., Spec]) -> None:
    specs = [
        variant("name=a"),
        variant("name=b", "train.lr=1e-4"),
        variant("name=c", "loss.weighting=snr", "seed=1"),
        variant("name=d"),
    ]
    assert preflight.sweep_notes(specs) == []
    (note,) = preflight.sweep_notes([*specs, variant("name=e", "loss.weighting=snr", "train.lr=1e-4")])
    assert note == "'b' and 'e' have the same objective: they differ only in loss.weighting.name"


def test_guided_rows_count_twice(variant: Callable[..., Spec]) -> None:
    """3 rows; with an interval, only those whose log-SNR is inside it."""
    conditional, table = "model.classes=true", variant().schedule.table()
    for overrides, passes in (
        ((), 3),
        ((conditional,), 3),
        ((conditional, "guidance.weight=2"), 6),
        ((conditional, "guidance.weight=0"), 3),
        ((conditional, "guidance={weight: 0, rescale: 0.5}"), 6),
    ):
        assert preflight.passes_per_image(variant(*overrides), table) == passes
    rows = [row.t for row in variant().evaluate.sampler.plan(table)]
    levels = table.log_snr_at(torch.tensor(rows, dtype=torch.float64)).tolist()
    interval = f"guidance={{weight: 2, interval: [{levels[1]}, {levels[2]}]}}"
    assert preflight.passes_per_image(variant(conditional, interval), table) == 3 + 1
