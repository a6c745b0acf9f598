"""Parts of the training loop: learning rate, budget, order, flips, validation set, checkpoints kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result, epochs, only_run

from ddpmx import ops
from ddpmx.ops import Noise, Purpose, stream
from ddpmx.spec import loading as spec_file
from ddpmx.spec.schema import TrainSpec
from ddpmx.training.batch import Batch, fetch_images
from ddpmx.training.experiment import build
from ddpmx.training.learning_rate import learning_rate
from ddpmx.training.loop import epoch_order
from ddpmx.training.objective import batch_loss
from ddpmx.training.pacing import total_steps
from ddpmx.training.state import TrainState, is_over

Run = Callable[..., Result]


def test_learning_rate_follows_its_formula() -> None:
    spec = TrainSpec(lr=2.0, warmup_steps=10, lr_schedule="cosine", steps=110)
    assert [learning_rate(spec, step, 110) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    for step in (10, 35, 60, 109):
        assert learning_rate(spec, step, 110) == pytest.approx(1 + math.cos(math.pi * (step - 10) / 100))
    linear = TrainSpec(lr=2.0, lr_schedule="linear", steps=100)
    assert learning_rate(linear, 75, 100) == pytest.approx(0.5)
    assert learning_rate(TrainSpec(lr=2.0), 75, 100) == 2.0


def test_the_budget_ends_at_whichever_comes_first() -> None:
    assert total_steps(TrainSpec(batch_size=64), 1437) == 100 * 23
    assert total_steps(TrainSpec(steps=30), 1437) == 30
    assert total_steps(TrainSpec(steps=30, epochs=1, batch_size=64), 1437) == 23
    assert is_over(TrainSpec(epochs=3), TrainState(epoch=3))
    assert not is_over(TrainSpec(epochs=3), TrainState(epoch=2))
    assert is_over(TrainSpec(steps=5), TrainState(step=5))


def test_patience_counts_epochs_without_a_new_best() -> None:
    spec = TrainSpec(patience=3)
    assert not is_over(spec, TrainState(epoch=7, best_epoch=5, best_step=50))
    assert is_over(spec, TrainState(epoch=8, best_epoch=5, best_step=50))
    assert not is_over(spec, TrainState(epoch=8))  # no validation yet


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(orders[0], epoch_order(1000, 0, 0))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (orders[a] == orders[b]).float().mean() < 0.02


def test_flips_mirror_half_of_the_images_whatever_the_batch() -> None:
    pixels = torch.arange(400 * 6).remainder(256).to(torch.uint8).view(400, 1, 2, 3)
    ids, plain = torch.arange(400), pixels.float() / 127.5 - 1
    whole = fetch_images(pixels, ids, 3, 1, True)
    mirrored = (whole == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(whole[~mirrored], plain[~mirrored])
    assert torch.equal(mirrored, ops.uniform(ids, ops.stream(ops.Purpose.FLIP, 1), 3) < 0.5)
    assert 160 < int(mirrored.sum()) < 240
    order = ids.flip(0)[100:150]
    assert torch.equal(whole[order], fetch_images(pixels, order, 3, 1, True))
    assert not torch.equal(whole, fetch_images(pixels, ids, 3, 2, True))
    assert torch.equal(fetch_images(pixels, order, 3, 1, False), plain[order])
    assert torch.equal(
        pixels, torch.arange(400 * 6).remainder(256).to(torch.uint8).view(400, 1, 2, 3)
    )  # the data set is unchanged


def test_timesteps_and_noise_of_training_share_no_stream() -> None:
    streams = {stream(purpose, step) for purpose in Purpose for step in (0, 1, 2**24 - 1)}
    assert len(streams) == 3 * len(Purpose)
    ids = torch.arange(4)
    a, b = (ops.normal(ids, stream(Purpose.NOISE, step), 0, (100,)) for step in (0, 1))
    assert not torch.equal(a, b)


def test_checkpoints_that_are_kept(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY.replace(
            "steps: 12", "epochs: 7, checkpoint_every: 2, keep_last: 1, keep_every: 3, lr_schedule: linear"
        )
    )
    assert ddpmx("run", tiny, "--out", tmp_path, "-s", "dataset.limit=100").code == 0
    checkpoints = only_run(tmp_path) / "checkpoints"
    steps = {
        int(path.name) // 2 for path in checkpoints.iterdir() if path.is_dir() and not path.is_symlink()
    }  # two steps an epoch
    best = int((checkpoints / "best").resolve().name) // 2
    assert steps == {3, 6, 7, best}  # 6 is also the newest multiple of checkpoint_every, 7 the last


def test_early_stopping_ends_the_run(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY.replace(
            "steps: 12, batch_size: 64, lr: 1e-3", "epochs: 30, patience: 2, batch_size: 64, lr: 1e-30"
        )
    )
    assert ddpmx("run", tiny, "--out", tmp_path, "-s", "dataset.limit=64", "-s", "train.ema=null").code == 0
    rows = epochs(only_run(tmp_path))
    assert [row["epoch"] for row in rows] == [1, 2, 3]  # the first is the best, two more are not
    assert len({row["val_loss"] for row in rows}) == 1  # the validation set is the same each time


def test_bfloat16_trains_close_to_float32(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        assert (
            ddpmx("run", tiny, "--out", tmp_path / precision, "-s", f"train.precision={precision}").code == 0
        )
    losses = [
        [row["val_loss"] for row in epochs(only_run(tmp_path / precision))]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_a_run_carries_its_plugins(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "halves.py"
    plugin.write_text(
        "import ddpmx\n@ddpmx.WEIGHTINGS.register('halves')\nclass Halves(ddpmx.Weighting):\n"
        "    '''A half everywhere.'''\n"
        "    def x_start_weight(self, table):\n        return 0.5 * table.log_snr.exp()\n"
    )
    tiny.write_text(TINY + "plugins: [halves.py]\nloss: {weighting: halves}\n")
    assert ddpmx("run", tiny, "--out", tmp_path / "a").code == 0
    run = only_run(tmp_path / "a")
    assert (run / "plugins" / "halves.py").read_text() == plugin.read_text()
    plugin.unlink()
    assert ddpmx("run", run / "spec.yaml", "--out", tmp_path / "b").code == 0
    losses = [[row["val_loss"] for row in epochs(folder)] for folder in (run, only_run(tmp_path / "b"))]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_compiled_network_trains_the_same(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    for flag in ("false", "true"):
        assert ddpmx("run", tiny, "--out", tmp_path / flag, "-s", f"train.compile={flag}").code == 0
    losses = [[row["val_loss"] for row in epochs(only_run(tmp_path / flag))] for flag in ("false", "true")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_prediction_scales_the_networks_input(tiny: Path) -> None:
    """EDM's c_in, in training and in sampling."""
    experiment = build(spec_file.load(tiny, ["prediction=edm"]), torch.device("cpu"))
    inputs: list[torch.Tensor] = []

    def network(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        inputs.append(x)
        return torch.zeros_like(x)

    ids, t = torch.arange(4), torch.tensor([0, 5, 10, 19])
    x_start = torch.linspace(-1, 1, 4 * 64).view(4, 1, 8, 8)
    batch_loss(experiment, network, Batch(x_start, t, Noise(0, 1, ids)))
    table = experiment.table
    x_t = ops.add_noise(
        x_start, table.signal[t].float(), table.sigma[t].float(), seed=0, sample_ids=ids, stream=1
    )
    c_in = 1 / (table.sigma[t] ** 2 + 0.25 * table.signal[t] ** 2).sqrt().view(4, 1, 1, 1)
    torch.testing.assert_close(inputs[0], (c_in * x_t).float())
    experiment.denoiser(network)(x_t, t.float())  # type: ignore[arg-type]
    torch.testing.assert_close(inputs[1], (c_in * x_t).float())
