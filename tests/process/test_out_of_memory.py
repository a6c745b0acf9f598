"""Running out of memory on a CPU gives a message with a hint, and the run is recorded as failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result, only_run

from ddpmx import ops
from ddpmx.ops import library
from ddpmx.process import out_of_memory

Run = Callable[..., Result]
TORCHS = (
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: not enough memory: you tried to "
    "allocate 123456789 bytes."
)


def allocate(*_: object, **__: object) -> None:
    raise RuntimeError(TORCHS)


def test_torch_says_it_in_words_that_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert out_of_memory.caused(caught.value)


def test_a_run_fails_says_so_and_can_be_resumed(
    ddpmx: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ddpmx.runs.run.validate", allocate)
        patch.setattr("ddpmx.runs.run._end_epoch", allocate)
        said = ddpmx("run", tiny, "--out", tmp_path / "runs")
    assert said.code == 1
    assert said.err.count("failed: out of memory: ") == 1
    assert "you tried to allocate 123456789 bytes" in said.err
    assert "train.batch_size" in said.err
    status = json.loads((only_run(tmp_path / "runs") / "status.json").read_text())
    assert status["status"] == "failed"
    assert status["why"].startswith("out of memory")
    assert ddpmx("run", tiny, "--out", tmp_path / "runs", "--resume").code == 0


@pytest.mark.skipif(not ops.backends()["cpp"], reason="the kernels are not built")
def test_an_op_that_finds_no_memory_is_no_wrong_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    x, ones, ids = torch.zeros(2, 1, 4, 4), torch.ones(2), torch.arange(2)
    monkeypatch.setitem(library.OPERATORS, "add_noise", allocate)
    with pytest.raises(RuntimeError, match="not enough memory") as caught:
        ops.add_noise(x, ones, ones, seed=0, sample_ids=ids, stream=ops.stream(ops.Purpose.NOISE, 0))
    assert out_of_memory.caused(caught.value)
