"""A plugin's average: two averages and snapshots of its own, in a run that is resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from conftest import SHORT, only_run
from forked import Death, command
from safetensors.torch import load_file

PLUGIN = """
import ddpmx

@ddpmx.EMAS.register("halving")
class Halving(ddpmx.Ema):
    '''The mean of all steps, and the last weights; a snapshot of every second step.'''
    every: int = 2

    def decays(self, step):
        return 1 - 1 / step, 0.0

    def kept(self, step):
        return list(range(self.every, step + 1, self.every))
"""


@pytest.mark.slow
def test_a_plugins_average_is_tracked_saved_resumed_and_snapshotted(tmp_path: Path) -> None:
    (tmp_path / "halving.py").write_text(PLUGIN)
    every = "checkpoint_every_steps: 1, keep_last: 99, ema: {name: halving}"
    (tmp_path / "tiny.yaml").write_text(
        SHORT.replace("steps: 7", f"steps: 5, {every}") + "plugins: [halving.py]\n"
    )
    code, said = command(tmp_path, "run", "tiny.yaml", death=Death("checkpoints/.4.", operation="os.rename"))
    assert code == -signal.SIGKILL, said
    code, said = command(tmp_path, "run", "tiny.yaml", "--resume")
    assert code == 0, said
    run = only_run(tmp_path / "runs")
    assert sorted(path.name for path in (run / "ema").iterdir()) == ["2", "4"]
    weights = [load_file(run / "checkpoints" / str(step) / "model.safetensors") for step in range(1, 6)]
    last = run / "checkpoints" / "last"
    for name, mean in load_file(last / "ema.safetensors").items():
        expected = torch.stack([tensors[name].double() for tensors in weights]).mean(0)
        torch.testing.assert_close(mean.double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(load_file(last / "ema-1.safetensors")[name], weights[-1][name])
    code, said = command(tmp_path, "ema", "runs/tiny")
    assert code == 2
    assert "it was trained with the average 'halving'" in said
