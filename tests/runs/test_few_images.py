"""Notes on Fréchet distances of fewer images, generated or real, than features; on nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Result

from ddpmx import DATASETS
from ddpmx.data import Data
from ddpmx.runs.preflight import metric_notes
from ddpmx.spec.loading import load


@pytest.fixture(scope="module")
def digits() -> Data:
    return DATASETS.build("digits").load(Path())


@pytest.fixture
def notes(tiny: Path, digits: Data) -> Callable[..., list[str]]:
    def of(*overrides: str, data: Data = digits) -> list[str]:
        return metric_notes(load(tiny, overrides), data)

    return of


def test_few_generated_images_are_a_note_with_the_dimension(notes: Callable[..., list[str]]) -> None:
    (note,) = notes("evaluate.metrics=[fd_cnn]", "evaluate.samples=127")
    assert "127 generated images are fewer than its 128 feature dimensions" in note
    assert "evaluate.samples" in note
    (note,) = notes("evaluate.metrics=[pixel_fd]", "evaluate.samples=63")
    assert "63 generated images are fewer than its 64 feature dimensions" in note
    (note,) = notes(
        "evaluate.metrics=[fd_cnn]", "evaluate={samples: 500, over: {evaluate.samples: [50, 500]}}"
    )
    assert "50 generated images" in note


def test_few_real_images_are_a_note_with_a_larger_split(
    notes: Callable[..., list[str]], digits: Data
) -> None:
    few = replace(digits, test=digits.test.take(torch.arange(90)), fingerprint="")
    (note,) = notes("evaluate.metrics=[fd_cnn]", "evaluate.samples=500", data=few)
    assert "the 90 test images that it compares with are fewer than its 128 feature dimensions" in note
    assert "`reference: validation` has 180" in note
    generated, real = notes("evaluate.metrics=[fid]", "evaluate.samples=500")
    assert "500 generated images are fewer than its 2,048" in generated
    assert "the 180 test images" in real
    assert "no split has more" in real


@pytest.mark.parametrize("metric", ["fd_cnn", "pixel_fd"])
def test_enough_images_are_no_note(notes: Callable[..., list[str]], metric: str) -> None:
    assert notes(f"evaluate.metrics=[{metric}]", "evaluate.samples=128") == []


def test_metrics_that_are_no_frechet_distance_have_no_note(notes: Callable[..., list[str]]) -> None:
    every = "precision_recall, density_coverage, memorisation, is_cnn, bpd"
    assert notes(f"evaluate.metrics=[{every}]", "evaluate.samples=20") == []


PLUGIN = """
import ddpmx

@ddpmx.METRICS.register("wide")
class Wide(ddpmx.Metric):
    '''A distance in 1,000 dimensions.'''

    def feature_dimension(self, data):
        return 1000

    def compute(self, subject):
        return {"wide": ddpmx.Score(1.0, "lower", len(subject.images), subject.seed)}
"""


def test_a_plugin_states_its_dimension_and_evaluate_says_it(
    ddpmx: Callable[..., Result], trained: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "wide.py").write_text(PLUGIN)
    tiny.write_text(tiny.read_text() + "plugins: [wide.py]\n")
    done = ddpmx("validate", tiny, "-s", "evaluate.metrics=[wide]")
    assert "8 generated images are fewer than its 1,000 feature dimensions" in done.out + done.err
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    done = ddpmx("evaluate", run, "-n", "20", "--metrics", "pixel_fd")
    assert "20 generated images are fewer than its 64 feature dimensions" in done.err
