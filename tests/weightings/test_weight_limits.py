"""Weights at infinite log-SNR, at the first index and beyond float32; invalid fields and weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from conftest import TINY, Result
from torch import Tensor
from weighting_tables import NAMES, table_of, vp

from ddpmx.components.registry import SCHEDULES, WEIGHTINGS
from ddpmx.errors import SpecError
from ddpmx.schedules import Table
from ddpmx.weightings import Weighting


class Bound(Weighting):
    """The unclipped bound, ½(SNR_{t−1} − SNR_t) on the x_0 error, which is infinite at index 0."""

    component_name: ClassVar[str] = "bound"

    def x_start_weight(self, table: Table) -> Tensor:
        snr = table.log_snr.exp()
        return -0.5 * snr.diff(prepend=snr.new_full((1,), torch.inf))


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_weight_is_refused_with_its_index(name: str) -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    with pytest.raises(SpecError, match=r"'vlb' is inf at index 0 \(set its clip or first\)"):
        WEIGHTINGS.build("vlb").weights(table, name)
    with pytest.raises(SpecError, match="'bound' is inf at index 0"):
        Bound().weights(table, name)


# A weighting's limits at infinite log-SNR: at −∞ (no signal), then at +∞ (no noise); None where there is no
# finite limit. Each lists the weights of the (epsilon, x_start, v, velocity) errors on a variance-preserving
# table, from ε weight = x_0 weight/SNR, v weight = x_0 weight/(SNR + 1) and velocity weight = x_0
# weight/(√SNR + 1)².
LIMITS: dict[tuple[str, ...], tuple[list[float | None], list[float | None]]] = {
    ("snr",): ([1, 0, 0, 0], [1, None, 1, 1]),
    ("truncated_snr", "floor", "2"): ([None, 2, 2, 2], [1, None, 1, 1]),
    ("min_snr", "gamma", "5"): ([1, 0, 0, 0], [0, 5, 0, 0]),
    ("soft_min_snr", "gamma", "4"): ([1, 0, 0, 0], [0, 4, 0, 0]),
    ("p2", "gamma", "1", "k", "0.5"): ([2, 0, 0, 0], [0, 1, 0, 0]),
    ("p2", "gamma", "0.9", "k", "1"): ([1, 0, 0, 0], [0, None, 0, 0]),
    ("p2", "gamma", "0.5", "k", "0"): ([None, 0, 0, 0], [0, None, 0, 0]),
    ("debiased",): ([None, 0, 0, 0], [0, None, 0, 0]),
    ("edm", "sigma_data", "0.5"): ([None, 4, 4, 4], [1, None, 1, 1]),
    ("sigmoid", "bias", "2"): ([1, 0, 0, 0], [0, math.exp(2), 0, 0]),
    ("vlb", "clip", "3"): ([3, 0, 0, 0], [3, None, 3, 3]),
}


@pytest.mark.parametrize("case", LIMITS, ids=" ".join)
def test_infinite_log_snr_has_the_weights_limit(case: tuple[str, ...]) -> None:
    name, fields = case[0], dict(zip(case[1::2], map(float, case[2::2]), strict=True))
    weighting = WEIGHTINGS.build(name, **fields)
    log_snr = torch.linspace(8, -8, 9, dtype=torch.float64)
    inside = table_of(log_snr)
    for index, end, limits in ((8, -math.inf, LIMITS[case][0]), (0, math.inf, LIMITS[case][1])):
        open_ended = log_snr.clone()
        open_ended[index] = end
        table = table_of(open_ended)
        neighbour = 1 if index == 0 and name == "vlb" else index  # the weight at index 1 uses index 0
        for prediction, limit in zip(NAMES, limits, strict=True):
            if limit is None:
                with pytest.raises(SpecError, match=f"'{name}' is inf at index {index}"):
                    weighting.weights(table, prediction)
            else:
                weight = weighting.weights(table, prediction)
                assert weight[index].item() == pytest.approx(limit, rel=1e-12, abs=0)
                others = [i for i in range(9) if i not in (index, neighbour)]
                torch.testing.assert_close(
                    weight[others], weighting.weights(inside, prediction)[others], rtol=1e-12, atol=0
                )


def test_limits_hold_on_tables_that_do_not_preserve_variance() -> None:
    """With signal = 1 and σ = 0, EDM's weight of the x_0 error is infinite; of ε, and so of v, it is 1."""
    sigma = torch.tensor([0.0, 0.1, 1.0, 80.0], dtype=torch.float64)
    table = Table(torch.ones_like(sigma), sigma)
    assert WEIGHTINGS.build("edm").weights(table, "epsilon")[0].item() == pytest.approx(1, rel=1e-12)
    assert WEIGHTINGS.build("edm").weights(table, "v")[0].item() == pytest.approx(1, rel=1e-12)
    with pytest.raises(SpecError, match="'edm' is inf at index 0"):
        WEIGHTINGS.build("edm").weights(table, "x_start")


def test_the_unclipped_bound_is_infinite_where_a_neighbour_is() -> None:
    """At signal 0, ½(SNR_{t−1} − SNR_t) is finite for the x_0 error and infinite for the ε error."""
    log_snr = torch.tensor([4.0, 1.0, -2.0, -math.inf], dtype=torch.float64)
    bound = WEIGHTINGS.build("vlb", first="skip")
    for prediction in ("x_start", "v", "velocity"):  # at signal 0 their errors are ± the x_0 error
        assert bound.weights(table_of(log_snr), prediction)[-1].item() == pytest.approx(
            0.5 * math.exp(-2), rel=1e-12
        )
    with pytest.raises(SpecError, match="'vlb' is inf at index 3"):
        bound.weights(table_of(log_snr), "epsilon")
    with pytest.raises(SpecError, match="'elbo' is inf at index 2"):  # its slope at index 2 uses index 3
        WEIGHTINGS.build("elbo").weights(table_of(log_snr), "v")
    with pytest.raises(SpecError, match="'vlb' is inf at index 1"):  # SNR_0 is infinite
        bound.weights(table_of(-log_snr.flip(0)), "v")


def test_a_weight_beyond_float32_is_refused() -> None:
    table = table_of(torch.tensor([100.0, 0.0], dtype=torch.float64))
    assert WEIGHTINGS.build("snr").weights(table, "epsilon")[0].item() == pytest.approx(1, rel=1e-12)
    with pytest.raises(SpecError, match=r"'snr' is 2.68812e\+43 at index 0"):
        WEIGHTINGS.build("snr").weights(table, "x_start")


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_fields_out_of_range(name: str) -> None:
    for field, facts in WEIGHTINGS.get(name).model_fields.items():
        wrong: list[object] = [math.nan, math.inf] if facts.annotation is float else ["x"]
        for value in [*wrong, -1.0] if facts.metadata else wrong:
            with pytest.raises(SpecError) as error:
                WEIGHTINGS.build(name, **{field: value})
            assert error.value.field.split(".")[0] == field


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_clip_out_of_range(clip: object) -> None:
    with pytest.raises(SpecError) as error:
        WEIGHTINGS.build("vlb", clip=clip)
    assert error.value.field == "clip"


def test_a_slope_needs_two_timesteps() -> None:
    for weighting in (WEIGHTINGS.build("elbo"), WEIGHTINGS.build("sigmoid", per_log_snr=True)):
        with pytest.raises(SpecError, match="at least 2 timesteps"):
            weighting.weights(vp("linear", 1), "v")


@pytest.mark.parametrize("clip", [None, 0.05])
def test_vlb_has_three_options_at_the_first_index(clip: float | None) -> None:
    table = vp("linear")
    full = WEIGHTINGS.build("vlb", clip=1e9).weights(table, "epsilon").clamp(max=clip or math.inf)
    skip, repeat = (
        WEIGHTINGS.build("vlb", first=first, clip=clip).weights(table, "epsilon")
        for first in ("skip", "repeat")
    )
    assert skip[0] == 0
    assert repeat[0].item() == pytest.approx(full[1].item(), rel=1e-12)
    for weight in (skip, repeat):
        torch.testing.assert_close(weight[1:], full[1:], rtol=1e-12, atol=0)


def test_vlb_of_one_timestep_has_nothing_to_repeat() -> None:
    assert WEIGHTINGS.build("vlb", first="skip").weights(vp("linear", 1), "v").tolist() == [0]
    with pytest.raises(SpecError, match="no index 1") as error:
        WEIGHTINGS.build("vlb", first="repeat").weights(vp("linear", 1), "v")
    assert error.value.field == "first"


def test_a_plugins_weighting_has_limits_too() -> None:
    """2·SNR on the x_0 error is 2 on the ε error, even where no signal is left."""

    class Twice(Weighting):
        component_name: ClassVar[str] = "twice"

        def x_start_weight(self, table: Table) -> Tensor:
            return 2 / table.sigma_ve.square()

    table = table_of(torch.tensor([math.inf, 1.0, -math.inf], dtype=torch.float64))
    assert Twice().weights(table, "epsilon").tolist() == pytest.approx([2, 2, 2], rel=1e-12)
    assert Twice().weights(table, "v").tolist() == pytest.approx([2, 2 / (1 + math.exp(-1)), 0], rel=1e-12)


BAD_WEIGHTING = """
import math, torch, ddpmx

@ddpmx.WEIGHTINGS.register("bad_weights")
class BadWeights(ddpmx.Weighting):
    '''Weights of 1, but `value` at index 3.'''
    value: float | str = 0.0
    def weights(self, table, prediction):
        weight = torch.ones(table.timesteps, dtype=torch.float64)
        if self.value == "flat":
            return weight[:, None]
        weight[3] = float(self.value)
        return weight

@ddpmx.WEIGHTINGS.register("bad_definition")
class BadDefinition(BadWeights):
    '''The same weights, of the x_0 error.'''
    weights = ddpmx.Weighting.weights
    def x_start_weight(self, table):
        return BadWeights.weights(self, table, None)
"""


@pytest.mark.parametrize("name", ["bad_weights", "bad_definition"])
@pytest.mark.parametrize(
    "block", ["{name: NAME, value: VALUE}", "{name: learned, base: {name: NAME, value: VALUE}}"]
)
def test_validate_refuses_invalid_weights(
    ddpmx: Callable[..., Result], tiny: Path, name: str, block: str
) -> None:
    (tiny.parent / "bad.py").write_text(BAD_WEIGHTING)
    method = {"bad_weights": "BadWeights.weights", "bad_definition": "BadDefinition.x_start_weight"}[name]
    for value, printed in (
        ("nan", "nan"),
        ("inf", "inf"),
        ("'-inf'", "-inf"),
        (-0.5, "-0.5"),
        ("1e39", "1e+39"),
    ):
        weighting = block.replace("NAME", name).replace("VALUE", f"'{value}'".replace("''", "'"))
        tiny.write_text(f"{TINY}plugins: [bad.py]\nprediction: x_start\nloss: {{weighting: {weighting}}}\n")
        result = ddpmx("validate", tiny)
        assert result.code == 2
        assert "loss.weighting" in result.err
        assert all(part in result.err for part in (method, printed, "at index 3")), result.err
    if name == "bad_weights":
        tiny.write_text(tiny.read_text().replace("1e39", "flat"))
        assert (
            "BadWeights.weights() of the weighting 'bad_weights' should return float64 [20]"
            in ddpmx("validate", tiny).err
        )
    tiny.write_text(tiny.read_text().replace("flat", "0").replace("1e39", "0"))
    assert ddpmx("validate", tiny).code == 0
