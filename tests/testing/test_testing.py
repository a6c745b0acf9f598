"""The conformance suite: built-in components pass it, and each kind of mistake is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result
from torch import Tensor

import ddpmx
from ddpmx.components.registry import REGISTRIES
from ddpmx.rows import Row
from ddpmx.samplers.base import Point
from ddpmx.testing import conformance
from ddpmx.testing.suites import SUITES

# The schedule `betas` has a field without a default.
BUILT_IN = [(kind, name) for kind in SUITES for name in REGISTRIES[kind].names() if name != "betas"]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=str)
def test_built_ins_conform(kind: str, name: str) -> None:
    findings = list(conformance(REGISTRIES[kind].get(name)))
    assert findings
    assert [f"{finding.check}: {finding.problem}" for finding in findings if finding.problem] == []


def problems(component: type) -> dict[str, str]:
    return {finding.check: finding.problem for finding in conformance(component) if finding.problem}


def test_a_schedule_that_gains_signal_is_found() -> None:
    class Rising(ddpmx.Schedule):
        def log_snr(self) -> Tensor:
            return torch.linspace(-5, 5, self.timesteps, dtype=torch.float64)

    assert any("should lose signal at every step" in problem for problem in problems(Rising).values())


def test_a_schedule_whose_from_log_snr_is_not_the_inverse_is_found() -> None:
    class Skewed(ddpmx.Schedule):
        def log_snr(self) -> Tensor:
            return torch.linspace(5, -5, self.timesteps, dtype=torch.float64)

        def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
            return torch.sigmoid(log_snr), torch.sigmoid(-log_snr).sqrt()

    assert "from_log_snr is the inverse of log-SNR" in problems(Skewed)


def test_a_schedule_that_changes_between_calls_is_found() -> None:
    class Random(ddpmx.Schedule):
        def beta(self) -> Tensor:
            return torch.rand(self.timesteps, dtype=torch.float64) * 0.01 + 1e-4

    assert "table() always returns the same table" in problems(Random)


def test_a_weighting_below_0_is_found() -> None:
    class Negative(ddpmx.Weighting):
        def x_start_weight(self, table: ddpmx.Table) -> Tensor:
            return -table.signal

    assert "weights are finite and not negative, or a SpecError" in problems(Negative)


def test_a_prediction_that_does_not_recover_x_0_is_found() -> None:
    class Lossy(ddpmx.Prediction):
        def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            return signal, sigma

        def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(signal), 1 / signal

    assert "x_0 is recovered from x_t and the target" in problems(Lossy)


def test_a_time_whose_probabilities_are_wrong_is_found() -> None:
    class Boastful(ddpmx.Time):
        def draw(self, u: Tensor, table: ddpmx.Table) -> Tensor:
            return (u.square() * table.timesteps).long()

        def probabilities(self, table: ddpmx.Table) -> Tensor:
            return torch.full_like(table.signal, 1 / table.timesteps)

    assert "indices are drawn with the stated probabilities" in problems(Boastful)


def test_a_sampler_that_forgets_the_noise_is_found() -> None:
    """A sampler that moves to the next signal level but keeps the noise."""

    class Noisy(ddpmx.Sampler):
        def step(self, here: Point, there: Point) -> Row:
            return Row(here.t, here.x0_from_x, here.x0_from_output, c_x=1.0, c_x0=there.signal - here.signal)

    found_problems = problems(Noisy)
    assert "preserves the standard deviation of Gaussian data" in found_problems
    assert "order of convergence" in found_problems


def test_a_sampler_that_ends_short_of_the_image_is_found() -> None:
    class Short(ddpmx.Sampler):
        def rows(self, table: ddpmx.Table, prediction: ddpmx.Prediction, timesteps: object) -> list[Row]:
            return [Row(float(t), 0.0, 1.0, c_x=0.5, c_x0=0.5) for t in timesteps]  # type: ignore[attr-defined]

    assert "ends at the clean image on every grid" in problems(Short)


def test_an_ema_that_leaves_its_range_or_gains_averages_or_snapshots_is_found() -> None:
    class Growing(ddpmx.Ema):
        def decays(self, step: int) -> tuple[float, ...]:
            return (step / 500,)

    class Gaining(ddpmx.Ema):
        def decays(self, step: int) -> tuple[float, ...]:
            return (0.5,) * (1 + step // 100)

    class Reviving(ddpmx.Ema):
        def decays(self, step: int) -> tuple[float, ...]:
            return (0.5,)

        def kept(self, step: int) -> list[int]:
            return [step] if step % 2 else [1, step]

    assert problems(Reviving) == {
        "snapshots are only ever thinned": "kept(4) has step 1, which kept(3) did not have"
    }
    check = "decays are in 0…1, and as many at every step"
    assert "the decays at step 501 are (1.002,)" in problems(Growing)[check]
    assert problems(Gaining)[check] == "there are 2 averages at step 100, but 1 at step 1"


GOOD = '''
import ddpmx, torch

@ddpmx.SCHEDULES.register("{name}")
class Power(ddpmx.Schedule):
    """β grows like (t/T)^exponent."""
    exponent: float = 2.0

    def beta(self):
        return {start} + 0.0499 * torch.linspace(0, 1, self.timesteps, dtype=torch.float64) ** self.exponent
'''


def test_the_command_checks_a_plugin(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    plugin = tmp_path / "good.py"
    plugin.write_text(GOOD.format(name="checked_power", start=1e-4))
    result = ddpmx("check", plugin)
    assert result.code == 0, result.out
    assert result.out.startswith("schedule checked_power\n")
    assert result.out.count(": ok") == 3


def test_the_command_fails_for_what_does_not_conform(ddpmx: Callable[..., Result], tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(GOOD.format(name="checked_bad_power", start=-0.01))
    result = ddpmx("check", plugin)
    assert result.code == 2
    assert "FAILED: the schedule 'checked_bad_power' has β = -0.01 at index 0" in result.out


def test_the_command_names_what_is_wrong_with_a_plugin_file(
    ddpmx: Callable[..., Result], tmp_path: Path
) -> None:
    empty, broken = tmp_path / "empty.py", tmp_path / "broken.py"
    empty.write_text("x = 1\n")
    broken.write_text("import nothing_of_that_name\n")
    for plugin, message in (
        (empty, "registers nothing"),
        (broken, "nothing_of_that_name"),
        (tmp_path / "none.py", "none.py"),
    ):
        result = ddpmx("check", plugin)
        assert result.code == 2
        assert message in result.err
