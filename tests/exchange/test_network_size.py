"""Networks that do not fit into memory, or that diffusers cannot build, are refused before they are built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result

from ddpmx import MODELS, SpecError
from ddpmx.models.size import check_memory
from ddpmx.process import memory
from ddpmx.spec.loading import load
from ddpmx.training.experiment import build

pytest.importorskip("diffusers")

from diffusers_folders import SMALL

Ddpmx = Callable[..., Result]

CONFIG = {
    key: value for key, value in SMALL.items() if key not in ("sample_size", "in_channels", "out_channels")
}


@pytest.mark.parametrize(
    ("kind", "fields"), [("ddpm_unet", {}), ("convnext_unet", {}), ("diffusers_unet", {"config": CONFIG})]
)
def test_memory_is_checked_without_allocating_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, fields: dict[str, Any]
) -> None:
    model = MODELS.build(kind, **fields)
    size = sum(parameter.nbytes for parameter in model.build(1, 8 if fields else 16).parameters())
    state = torch.get_rng_state()
    for most, copies, fits in (
        (size, 1, True),
        (size - 1, 1, False),
        (5 * size, 5, True),
        (5 * size - 1, 5, False),
    ):
        monkeypatch.setattr(memory, "limit", lambda most=most: most)
        try:
            check_memory(model, lambda: model.build(1, 8 if fields else 16), copies)
            accepted = True
        except SpecError:
            accepted = False
        assert accepted == fits
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "model",
    [
        "{name: ddpm_unet, dim: 4096, dim_mults: [64, 64]}",
        "{name: convnext_unet, dim: 4096, dim_mults: [64, 64]}",
    ],
)
def test_a_run_larger_than_the_memory(ddpmx: Ddpmx, tiny: Path, model: str) -> None:
    result = ddpmx("run", tiny, "-s", f"model={model}", "--out", tiny.parent / "runs")
    assert result.code == 2
    assert "model: the network has " in result.err
    assert "parameters, which need, with the tensors that training keeps for each, at least" in result.err
    assert not (tiny.parent / "runs").exists()


def test_initial_weights_depend_on_the_seed_only(tiny: Path) -> None:
    experiment = build(load(tiny, ["seed=5"]), torch.device("cpu"), training=True)
    torch.manual_seed(5)
    expected = experiment.spec.model.build(1, 8).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in experiment.network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layers_per_block": 10**9}, "config.layers_per_block"),
        ({"block_out_channels": [10**12, 8]}, "config.block_out_channels.0"),
        ({"block_out_channels": "8"}, "config.block_out_channels"),
        ({"norm_num_groups": 0}, "config.norm_num_groups"),
        ({"norm_num_groups": 3}, "config"),
        ({"num_class_embeds": 5}, "config.num_class_embeds"),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "config"),
        ({"unknown": {"deep": []}}, "config.unknown"),
    ],
)
def test_an_impossible_diffusers_unet_in_a_spec(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        MODELS.build("diffusers_unet", config={**CONFIG, **change}).build(1, 8)
    assert caught.value.field == named
