"""A run started and interrupted by commit 9188ed5, before the packages were reorganised, still works.

`old_run/run` is its folder; beside it is what that commit made of it: the weights at the end of the resumed
run, images, an exported network and numbers. Processors round differently, so the error of the resumed
weights is measured relative to how far training moved them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from safetensors.torch import load_file

Run = Callable[..., Result]
OLD = Path(__file__).parent / "old_run"
VALUES = json.loads((OLD / "values.json").read_text())
FURTHER_ROUNDING = 1e-3
"""Largest error, relative to the distance that the resumed steps move the weights.

Different random numbers would give about 1.
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "before" / "20261129-223022"
    shutil.copytree(OLD / "run", run, symlinks=True)
    return run


def weights(file: Path) -> torch.Tensor:
    tensors = load_file(file)
    return torch.cat([tensors[name].flatten().double() for name in sorted(tensors)])


def test_it_resumes_to_the_weights_that_the_old_code_gave(old: Path, ddpmx: Run):
    before = weights(old / "checkpoints" / "last" / "model.safetensors")
    assert ddpmx("run", old / "spec.yaml", "--resume", "--out", old.parents[1]).code == 0
    after, expected = (
        weights(old / "checkpoints" / "last" / "model.safetensors"),
        weights(OLD / "resumed.safetensors"),
    )
    assert (after - expected).norm() <= FURTHER_ROUNDING * (expected - before).norm()
    events = [json.loads(line) for line in (old / "metrics.jsonl").read_text().splitlines()]
    row = [event for event in events if event["event"] == "epoch"][-1]
    assert {key: row[key] for key in VALUES["resumed"]} == pytest.approx(VALUES["resumed"], rel=1e-4)


def test_it_evaluates(old: Path, ddpmx: Run):
    done = ddpmx("evaluate", old, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"] == pytest.approx(VALUES["evaluated"], rel=1e-2)


def test_it_samples_the_same_images(old: Path, ddpmx: Run, tmp_path: Path):
    assert ddpmx("sample", old, "-n", "4", "--sampler", "ddim", "--out", tmp_path / "four.npz").code == 0
    made, expected = (np.load(folder / "four.npz")["images"].astype(int) for folder in (tmp_path, OLD))
    assert made.shape == expected.shape
    assert abs(made - expected).max() <= 1


def test_it_compares(old: Path, ddpmx: Run):
    assert ddpmx("evaluate", old).code == 0
    (group,) = json.loads(ddpmx("compare", old, "--json").out)["groups"]
    assert (group["run"], group["status"]) == ("before", "interrupted")
    assert group["measures"]["bpd"]["value"] == pytest.approx(VALUES["evaluated"]["bpd"], rel=1e-2)


def test_it_exports_the_same_network(old: Path, ddpmx: Run, tmp_path: Path):
    assert ddpmx("export", old, tmp_path / "exported", "--to", "diffusers").code == 0
    made, expected = (
        load_file(tmp_path / "exported/unet/diffusion_pytorch_model.safetensors"),
        load_file(OLD / "exported.safetensors"),
    )
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
