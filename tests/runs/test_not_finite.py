"""NaN and infinity in weights, images and scores are counted and reported, never stored as numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Result, epochs, only_run
from PIL import Image, ImageSequence
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ddpmx.errors import RunError
from ddpmx.metrics import Score, Subject
from ddpmx.metrics.features import Pixels
from ddpmx.metrics.score import finite
from ddpmx.runs.generate import Samples, denoising, generate
from ddpmx.spec import loading as spec_file
from ddpmx.storage.folder import RunFolder
from ddpmx.training.experiment import Experiment, build

Run = Callable[..., Result]

PLUGIN = """
import math, torch, ddpmx
from torch import nn

class Network(nn.Conv2d):
    def forward(self, x, t):
        y = super().forward(x)
        return y if self.training else y.masked_fill(x[:, :1, :1, :1] > 0, math.nan)

@ddpmx.MODELS.register("breaks")
class Breaks(ddpmx.Model):
    '''Returns NaN for images whose first pixel is bright, but never in training.'''
    def build(self, channels, size):
        return Network(channels, channels, 3, padding=1)

@ddpmx.METRICS.register("hollow")
class Hollow(ddpmx.Metric):
    '''A score that is a number, and one that is NaN.'''
    needs_images = False
    def compute(self, subject):
        common = {"better": "lower", "n": 3, "seed": 0}
        wide = ddpmx.Score(value=2.0, interval=(-math.inf, 3.0), floor=math.nan, floor_n=4, **common)
        return {"hollow.good": wide, "hollow.bad": ddpmx.Score(value=math.nan, **common)}
"""


class Half(nn.Module):
    """Returns NaN for images whose first pixel is bright."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.where(x[:, :1, :1, :1] > 0, math.nan, torch.zeros_like(x))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ddpmx.runs.run import run

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY.replace("steps: 12", "steps: 1"))
    return run(spec_file.load(folder / "tiny.yaml"), out=folder, device=torch.device("cpu"))


@pytest.fixture
def broken(finished: Path, tmp_path: Path) -> tuple[Path, str]:
    """A file with the run's weights, one value of which is NaN, and the name of that tensor."""
    weights = load_file(finished / "checkpoints" / "best" / "ema.safetensors")
    name = next(name for name in weights if name.startswith("first"))
    weights[name].view(-1)[0] = math.nan
    save_file(weights, tmp_path / "nan.safetensors")
    return tmp_path / "nan.safetensors", name


def experiment_of(folder: Path) -> Experiment:
    (folder / "tiny.yaml").write_text(TINY)
    return build(spec_file.load(folder / "tiny.yaml"), torch.device("cpu"))


@pytest.mark.parametrize("out", ["x.png", "x.npz", "x.gif", "folder"])
def test_sample_counts_images_that_are_not_finite(
    ddpmx: Run, finished: Path, broken: tuple[Path, str], tmp_path: Path, out: str
) -> None:
    weights, name = broken
    result = ddpmx("sample", finished, "-n", 4, "--weights", weights, "--out", tmp_path / out)
    assert result.code == 1
    assert "4 of 4 images are not finite (NaN or infinity)" in result.err
    assert f"1 of {load_file(weights)[name].numel():,} values of {name}" in result.err
    assert result.out == ""
    if out == "x.npz":
        with np.load(tmp_path / out) as arrays:
            assert not arrays["images"].any()
            assert arrays["finite"].tolist() == [False] * 4


def test_a_finite_sample_says_nothing(ddpmx: Run, finished: Path, tmp_path: Path) -> None:
    result = ddpmx("sample", finished, "-n", 4, "--out", tmp_path / "x.npz")
    assert (result.code, result.err) == (0, "")
    with np.load(tmp_path / "x.npz") as arrays:
        assert list(arrays) == ["images"]


@pytest.mark.parametrize("batch_size", [3, 20])
def test_the_finite_images_of_a_batch_stay_as_they_are(tmp_path: Path, batch_size: int) -> None:
    experiment = experiment_of(tmp_path)
    plan = experiment.spec.evaluate.sampler.plan(experiment.table, experiment.prediction)
    generated = generate(experiment, Half(), plan, Samples(20, seed=1), batch_size=batch_size)
    broken = 20 - int(generated.finite.sum())
    assert 0 < broken < 20
    first = int((~generated.finite).nonzero()[0])
    assert generated.problem == (
        f"{broken} of 20 images are not finite (NaN or infinity),"
        f" the first is number {first} (counted from 0)"
    )
    assert not generated.pixels[~generated.finite].any()
    assert all(bool(image.any()) for image in generated.pixels[generated.finite])
    frames = denoising(experiment, Half(), plan, Samples(20, seed=1), frames=5)
    assert torch.equal(frames.finite, generated.finite)
    assert torch.equal(frames.pixels[-1], generated.pixels)


def test_a_run_whose_images_are_not_finite_warns_and_skips_their_scores(ddpmx: Run, tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(PLUGIN)
    spec = TINY.replace("{name: convnext_unet, dim: 8, dim_mults: [1, 2]}", "breaks").replace(
        "steps: 12", "steps: 3"
    )
    spec = spec.replace("samples: 8", "samples: 8, metrics: [pixel_fd, hollow]")
    (tmp_path / "tiny.yaml").write_text(spec + "plugins: [breaks.py]\n")
    result = ddpmx("run", tmp_path / "tiny.yaml", "--out", tmp_path)
    assert result.code == 0, result.err
    run = only_run(tmp_path)
    for line in (
        "in samples/epoch-0001.png ",
        "in samples/final.png ",
        "in samples/denoising.png ",
        "so the metrics of images are skipped",
    ):
        warnings = [text for text in result.err.splitlines() if "are not finite" in text]
        assert any(line in warning for warning in warnings), (line, result.err)
    assert "hollow.bad is nan" in result.err
    (row,) = epochs(run)
    assert row["metrics"] == {"hollow.good": 2.0}
    assert [row["scores"]["hollow.good"][key] for key in ("interval", "floor", "floor_n")] == [None, None, 0]

    log = run / "metrics.jsonl"
    before = log.read_bytes()
    refused = ddpmx("evaluate", run, "-n", 6, "--metrics", "pixel_fd")
    assert refused.code == 1
    assert "of 6 images are not finite" in refused.err
    assert log.read_bytes() == before
    partly = ddpmx("evaluate", run, "-n", 6)
    assert partly.code == 1
    assert "the other scores are stored: hollow.good" in partly.err
    assert log.read_bytes().startswith(before)
    *_, event = RunFolder(run).events()
    assert event["metrics"] == {"hollow.good": 2.0}
    json.dumps(event, allow_nan=False)


def test_features_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    class Damaged(Pixels):
        def features(self, pixels: Tensor) -> Tensor:
            return super().features(pixels).masked_fill(pixels.flatten(1) == 0, math.nan)

    data = experiment_of(tmp_path).data
    subject = Subject(data, data.train.pixels[:5])
    with pytest.raises(RunError, match="the features of the generated images are not finite"):
        subject.features(Damaged())
    with pytest.raises(RunError, match="the features of the test images are not finite"):
        subject.real_features(Damaged(), "test")


def test_a_finite_score_is_unchanged() -> None:
    score = Score(value=1.5, better="lower", n=3, seed=0, interval=(1.0, 2.0), floor=0.5, floor_n=3)
    warnings: list[str] = []
    assert finite({"good": score}, warnings.append) == {"good": score}
    assert warnings == []


def test_every_frame_of_a_broken_gif_is_written(
    ddpmx: Run, finished: Path, broken: tuple[Path, str], tmp_path: Path
) -> None:
    assert ddpmx("sample", finished, "-n", 2, "--weights", broken[0], "--out", tmp_path / "x.gif").code == 1
    with Image.open(tmp_path / "x.gif") as gif:
        assert sum(1 for _ in ImageSequence.Iterator(gif)) >= 1
