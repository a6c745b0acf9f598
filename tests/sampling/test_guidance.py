"""Classes and guidance: the formulas in float64, two Gaussians, label dropout, and whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Result
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ddpmx import PREDICTIONS, SAMPLERS, SCHEDULES, SpecError, guided, sample
from ddpmx.runs.generate import Samples, generate
from ddpmx.runs.resume import Resume
from ddpmx.runs.run import run as run_spec
from ddpmx.spec import loading as spec_file
from ddpmx.storage.folder import RunFolder
from ddpmx.testing.gaussian import denoiser
from ddpmx.training.classes import labels_with_dropout, parse_classes
from ddpmx.training.experiment import Experiment, build
from ddpmx.training.objective import draw_step, step_loss
from ddpmx.training.validation import validate
from ddpmx.world import World

Run = Callable[..., Result]
Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]

CONDITIONAL = TINY.replace("dim_mults: [1, 2]", "dim_mults: [1, 2], classes: true")
TABLE = SCHEDULES.build("cosine", timesteps=100).table()
MEANS, STD = (-0.6, 0.7), 0.1


# -- the formula


def outputs() -> tuple[Tensor, Tensor, Conditional, list[int]]:
    """Random outputs cond and uncond, a denoiser that returns them by label, and its batch sizes."""
    generator = torch.Generator().manual_seed(0)
    cond, uncond = (
        scale * torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) + 0.3
        for scale in (1.0, 2.0)
    )
    calls: list[int] = []

    def denoise(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls.append(len(x))
        assert len(x) == len(t) == len(labels)
        index = torch.arange(len(x)) % 3
        return torch.where((labels == 7).view(-1, 1, 1, 1), uncond[index], cond[index])

    return cond, uncond, denoise, calls


LABELS = torch.tensor([0, 4, 2])
X, T = torch.zeros(3, 2, 4, 4, dtype=torch.float64), torch.tensor([10.0, 50.0, 90.0], dtype=torch.float64)


def test_only_the_prediction_is_guided_not_the_variance_beside_it() -> None:
    """The second half of 2c channels is that of cond; cond and uncond both get the estimate of x_0."""
    cond, uncond, plain, _ = outputs()
    estimates: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor, labels: Tensor, x0: Tensor) -> Tensor:
        estimates.append(x0)
        return torch.cat(
            (plain(x, t, labels), labels.double().view(-1, 1, 1, 1).expand(len(x), 2, 4, 4)), dim=1
        )

    estimate = torch.rand_like(X)
    output = guided(denoise, LABELS, 7, TABLE, weight=2.5)(X, T, estimate)
    torch.testing.assert_close(output[:, :2], uncond + 2.5 * (cond - uncond))
    torch.testing.assert_close(output[:, 2:], LABELS.double().view(-1, 1, 1, 1).expand(3, 2, 4, 4))
    assert torch.equal(estimates[0], torch.cat((estimate, estimate)))


@pytest.mark.parametrize(("weight", "call"), [(0.0, 3), (1.0, 3), (3.0, 6), (0.5, 6)])
def test_the_output_is_its_formula_in_one_call(weight: float, call: int) -> None:
    cond, uncond, denoise, calls = outputs()
    output = guided(denoise, LABELS, 7, TABLE, weight=weight)(X, T)
    torch.testing.assert_close(output, (1 - weight) * uncond + weight * cond, rtol=1e-12, atol=1e-12)
    assert calls == [call]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_rescale_gives_each_image_its_conditional_deviation_back(weight: float) -> None:
    cond, uncond, denoise, _ = outputs()
    plain = uncond.numpy() + weight * (cond - uncond).numpy()
    factor = cond.numpy().std(axis=(1, 2, 3)) / plain.std(axis=(1, 2, 3))
    for rescale in (0.3, 1.0):
        output = guided(denoise, LABELS, 7, TABLE, weight=weight, rescale=rescale)(X, T).numpy()
        expected = rescale * plain * factor[:, None, None, None] + (1 - rescale) * plain
        np.testing.assert_allclose(output, expected, rtol=1e-12)
    np.testing.assert_allclose(output.std(axis=(1, 2, 3)), cond.numpy().std(axis=(1, 2, 3)), rtol=1e-12)
    torch.testing.assert_close(guided(denoise, LABELS, 7, TABLE, weight=1.0, rescale=1.0)(X, T), cond)


def test_rescale_of_an_output_that_is_zero_is_zero() -> None:
    """As for a network before training."""
    output = guided(lambda x, t, labels: torch.zeros_like(x), LABELS, 7, TABLE, weight=3.0, rescale=1.0)(X, T)
    assert torch.equal(output, torch.zeros_like(X))


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_guidance_acts_inside_its_interval_only(weight: float) -> None:
    cond, uncond, denoise, calls = outputs()
    low, high = (float(TABLE.log_snr[i]) for i in (60, 50))  # index 50 is the excluded end
    for t in range(100):
        output = guided(denoise, LABELS, 7, TABLE, weight=weight, interval=(low, high))(
            X, torch.full((3,), float(t))
        )
        acts = 50 < t <= 60
        torch.testing.assert_close(output, (1 - weight) * uncond + weight * cond if acts else cond)
        assert calls.pop() == (6 if acts and weight == 3 else 3)
    mixed = guided(denoise, LABELS, 7, TABLE, weight=weight, interval=(low, high))(
        X, torch.tensor([10.0, 55.5, 90.0])
    )
    torch.testing.assert_close(mixed[1], (1 - weight) * uncond[1] + weight * cond[1])
    torch.testing.assert_close(mixed[[0, 2]], cond[[0, 2]])


# -- two classes whose ideal denoisers are formulas


def exact(prediction: Any) -> Conditional:
    """The ideal denoiser of pixels [n, 1, 1, 1] of two equally likely classes; label 2 is no class.

    Class 0 is N(−0.6, 0.1²), class 1 is N(0.7, 0.1²).
    """
    ideal = [denoiser(TABLE, prediction, mean, STD) for mean in MEANS]

    def denoise(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        signal, sigma = (c.view(-1, 1, 1, 1) for c in TABLE.at(t.double()))
        variance = (signal * STD) ** 2 + sigma**2
        chance = torch.stack([-((x - signal * mean) ** 2) / (2 * variance) for mean in MEANS]).softmax(
            0
        )  # of each class, for this x
        each = torch.stack([part(x, t) for part in ideal])
        label = labels.view(-1, 1, 1, 1)
        return torch.where(label == 2, (chance * each).sum(0), torch.where(label == 0, each[0], each[1]))

    return denoise


def drawn(weight: float, name: str = "epsilon", **options: Any) -> Tensor:
    """4,000 sampled values, half of them of each class."""
    prediction = PREDICTIONS.build(name)
    plan = SAMPLERS.build("ddim", steps=100).plan(TABLE, prediction, clip=None)
    labels = torch.arange(4000) // 2000
    denoise = guided(exact(prediction), labels, 2, TABLE, weight=weight, **options)
    return sample(denoise, plan, (4000, 1, 1, 1), seed=3, dtype=torch.float64).view(2, 2000)


@pytest.mark.parametrize("name", ["epsilon", "x_start", "v", "velocity"])
def test_weight_1_draws_each_class(name: str) -> None:
    images = drawn(1.0, name)
    assert images.mean(1).tolist() == pytest.approx(MEANS, abs=0.02)
    assert images.std(1).tolist() == pytest.approx([STD] * 2, rel=0.1)


def test_weight_0_draws_both_classes_whatever_the_label() -> None:
    for images in drawn(0.0):
        high = images > 0
        assert 0.45 < float(high.double().mean()) < 0.55
        assert float(images[high].mean()) == pytest.approx(MEANS[1], abs=0.03)
        assert float(images[~high].mean()) == pytest.approx(MEANS[0], abs=0.03)


def test_a_larger_weight_moves_away_from_the_other_class_unless_the_interval_is_empty() -> None:
    means = [drawn(weight).mean(1) for weight in (1.0, 2.0, 4.0)]
    for weaker, stronger in pairwise(means):
        assert stronger[0] < weaker[0] - 0.005
        assert stronger[1] > weaker[1] + 0.005
    assert torch.equal(drawn(4.0, interval=(1e3, 1e4)), drawn(1.0))


@pytest.mark.parametrize("name", ["epsilon", "x_start", "v", "velocity", "edm"])
def test_guiding_the_output_is_guiding_x_0(name: str) -> None:
    prediction = PREDICTIONS.build(name)
    denoise, labels = exact(prediction), torch.tensor([0, 1, 1])
    x, t = (
        torch.tensor([-0.5, 0.2, 1.0], dtype=torch.float64).view(3, 1, 1, 1),
        torch.tensor([20.0, 50.0, 80.0], dtype=torch.float64),
    )
    from_x, from_output = (c.view(3, 1, 1, 1) for c in prediction.x0_from(*TABLE.at(t)))
    cond, uncond, output = (
        from_x * x + from_output * y
        for y in (
            denoise(x, t, labels),
            denoise(x, t, torch.full((3,), 2)),
            guided(denoise, labels, 2, TABLE, weight=3.0)(x, t),
        )
    )
    torch.testing.assert_close(output, uncond + 3 * (cond - uncond))


# -- label dropout in training


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "classes.yaml"
    path.write_text(CONDITIONAL.replace("lr: 1e-3", "lr: 1e-3, label_dropout: 0.2"))
    return build(spec_file.load(path), torch.device("cpu"))


def test_label_dropout_hides_its_share_and_another_one_each_step(experiment: Experiment) -> None:
    ids, true = torch.arange(1437), experiment.data.train.labels
    assert true is not None
    hidden = []
    for step in range(50):
        shown = labels_with_dropout(experiment, ids, step)
        assert shown is not None
        assert shown.dtype == torch.int64
        hidden.append(shown == 10)
        assert torch.equal(shown[~hidden[-1]], true[~hidden[-1]])
    fraction = torch.stack(hidden).double()
    n = fraction.numel()
    assert abs(float(fraction.mean()) - 0.2) < 4 * math.sqrt(0.2 * 0.8 / n)
    # no label is always hidden: 20 of 50 would be 4.5 deviations too many
    assert float(fraction.mean(0).max()) < 0.55
    assert float(fraction.mean(0).min()) < float(fraction.mean(0).max())
    both = (fraction[:-1] * fraction[1:]).mean()
    assert abs(float(both) - 0.04) < 4 * math.sqrt(0.04 * 0.96 / n)  # steps are independent


def test_which_labels_are_hidden_depends_on_the_image_and_not_on_its_batch(experiment: Experiment) -> None:
    ids = torch.randperm(1437, generator=torch.Generator().manual_seed(0))
    whole = labels_with_dropout(experiment, ids, 5)
    for size in (1, 64, 1000):
        parts = [labels_with_dropout(experiment, part, 5) for part in ids.split(size)]
        assert torch.equal(torch.cat(parts), whole)  # type: ignore[arg-type]


def test_training_is_told_the_shown_labels_and_validation_the_true_ones(experiment: Experiment) -> None:
    received: list[Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
            received.append(labels)
            return torch.zeros_like(x)

    ids = torch.arange(100, 400)
    step_loss(experiment, Spy(), draw_step(experiment, ids, 9).batch(torch.zeros(300, 1, 8, 8)))
    assert torch.equal(received.pop(), labels_with_dropout(experiment, ids, 9))  # type: ignore[arg-type]
    validate(experiment, Spy(), World())
    assert torch.equal(torch.cat(received), experiment.data.validation.labels)  # type: ignore[arg-type]


def test_a_network_without_classes_is_told_nothing(tiny: Path) -> None:
    plain = build(spec_file.load(tiny), torch.device("cpu"))
    assert plain.classes == ()
    assert plain.spread(10) is None
    assert labels_with_dropout(plain, torch.arange(5), 0) is None


# -- the choice of classes


@pytest.mark.parametrize("count", [1, 7, 10, 64, 1000])
def test_classes_are_spread_evenly_in_order(experiment: Experiment, count: int) -> None:
    labels = experiment.spread(count)
    assert labels is not None
    assert torch.equal(labels.sort().values, labels)
    counts = labels.bincount(minlength=10)
    assert int(counts.max()) - int(counts.min()) <= 1
    chosen = experiment.spread(count, [7, 2])
    assert chosen is not None
    assert chosen.tolist() == [7] * math.ceil(count / 2) + [2] * (count // 2)


def test_an_image_depends_on_its_id_and_label_and_not_on_its_batch(experiment: Experiment) -> None:
    plan = SAMPLERS.build("ddpm").plan(experiment.table, experiment.prediction)
    labels = torch.tensor([3, 3, 8, 10, 0])

    def drawn(labels: torch.Tensor, size: int) -> torch.Tensor:
        return generate(
            experiment, experiment.network, plan, Samples(5, seed=1, labels=labels), batch_size=size
        ).pixels.int()

    together, apart = (drawn(labels, size) for size in (5, 2))
    assert (together - apart).abs().max() <= 1
    changed = drawn(torch.tensor([3, 3, 1, 10, 0]), 5)
    assert (together - changed)[[0, 1, 3, 4]].abs().max() <= 1
    assert (together - changed)[2].abs().max() > 1


def test_classes_are_found_by_name_and_number() -> None:
    names = ("T-shirt", "2", "dress", "10")
    assert parse_classes("dress, 0,2,3,10", names) == [2, 0, 1, 3, 3]  # the class called 2 is number 1
    for wrong in ("4", "-1", "", "Dress", "0;1"):
        with pytest.raises(SpecError, match="0 T-shirt, 1 2, 2 dress, 3 10"):
            parse_classes(wrong, names)


# -- whole runs


TOLD = (
    CONDITIONAL.replace("lr: 1e-3", "lr: 1e-3, label_dropout: 0.3")
    .replace("grid: 4", "grid: 30")
    .replace("digits", "{name: digits, limit: 256}")
)
TOLD += "guidance: {weight: 2, rescale: 0.5, interval: [-2, 100]}\n"


def finished(folder: Path, text: str, *overrides: str) -> Path:
    """A run of the spec `text`, resumed if there is one in `folder`."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return run_spec(spec_file.load(path, overrides), out=folder, resume=Resume(), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guided run of 12 steps, three epochs."""
    return finished(tmp_path_factory.mktemp("conditional"), TOLD)


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network does not know classes."""
    return finished(tmp_path_factory.mktemp("unconditional"), TINY, "train.steps=1", "dataset.limit=64")


def test_sample_draws_the_classes_that_it_is_asked_for(ddpmx: Run, conditional: Path, tmp_path: Path) -> None:
    arrays = {}
    for weight in ("0", "1", "2"):
        out = tmp_path / f"{weight}.npz"
        done = ddpmx("sample", conditional, "--classes", "3,4", "--guidance", weight, "-n", "7", "--out", out)
        assert done.code == 0, done.err
        arrays[weight] = np.load(out)["images"].astype(int)
        assert arrays[weight].shape == (7, 8, 8, 1)
        assert np.load(out)["labels"].tolist() == [3, 3, 3, 3, 4, 4, 4]
    assert np.abs(arrays["1"] - arrays["2"]).max() > 1
    assert np.abs(arrays["1"] - arrays["0"]).max() > 1
    for out in ("a.png", "a.gif"):
        assert (
            ddpmx(
                "sample", conditional, "--classes", "3,4", "-n", "7", "--steps", "2", "--out", tmp_path / out
            ).code
            == 0
        )
        with Image.open(tmp_path / out) as picture:
            assert picture.size == (2 + 4 * 50, 2 + 2 * 50)
    unnamed = ddpmx("sample", conditional, "--classes", "3,4", "--guidance", "2.5", "-n", "4")
    assert unnamed.out.strip().endswith("-classes3_4-guidance2.5.png")


def test_a_run_draws_as_its_spec_says_with_its_classes_in_order(
    ddpmx: Run, conditional: Path, tmp_path: Path
) -> None:
    for name in ("epoch-0001.png", "final.png"):
        with Image.open(conditional / "samples" / name) as picture:
            assert picture.size == (2 + 3 * 50, 2 + 10 * 50)  # ten rows of three
    for out, extra in (
        ("as_specified", ()),
        ("again", ("-s", "guidance.weight=1", "--guidance", "2")),
        ("plain", ("--guidance", "1")),
    ):
        done = ddpmx("sample", conditional, "-n", "30", "--out", tmp_path / f"{out}.png", *extra)
        assert done.code == 0, done.err
    final, specified, again, plain = (
        np.array(Image.open(path))
        for path in (
            conditional / "samples" / "final.png",
            *(tmp_path / f"{out}.png" for out in ("as_specified", "again", "plain")),
        )
    )
    assert np.array_equal(specified, final)
    assert np.array_equal(again, final)
    assert not np.array_equal(plain, final)


def test_a_measured_guidance_is_written_down(ddpmx: Run, conditional: Path) -> None:
    evaluated = ddpmx(
        "evaluate",
        conditional,
        "-n",
        "20",
        "--metrics",
        "fd_cnn",
        "-s",
        "guidance={weight: 3, rescale: 0, interval: null}",
    )
    assert evaluated.code == 0, evaluated.err
    assert [*RunFolder(conditional).events()][-1]["guidance"] == {
        "weight": 3.0,
        "rescale": 0.0,
        "interval": None,
    }


@pytest.mark.slow
def test_a_resumed_conditional_run_is_the_same_run(conditional: Path, tmp_path: Path) -> None:
    parts = finished(tmp_path, TOLD, "train.steps=6")  # in the second epoch
    assert finished(tmp_path, TOLD) == parts
    for name in ("model", "ema", "optimizer"):
        one, two = (
            load_file(run / "checkpoints" / "last" / f"{name}.safetensors") for run in (conditional, parts)
        )
        assert one.keys() == two.keys()
        assert [key for key in one if not torch.equal(one[key], two[key])] == []
    assert (conditional / "samples" / "final.png").read_bytes() == (
        parts / "samples" / "final.png"
    ).read_bytes()


def test_a_dry_run_and_the_page_of_a_conditional_spec(ddpmx: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TOLD)
    result = ddpmx("run", tmp_path / "tiny.yaml", "--dry-run")
    assert result.code == 0, result.err
    assert ddpmx("show", tmp_path / "tiny.yaml", "--out", tmp_path / "show.html").code == 0
    assert "10, guidance weight 2" in (tmp_path / "show.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--classes", "3"), ["--classes", "not class-conditional"]),
        (("--guidance", "1"), ["--guidance", "not class-conditional"]),
        (("--guidance", "-1"), ["--guidance", "x>=0"]),
    ],
)
def test_options_that_an_unconditional_run_refuses(
    ddpmx: Run, unconditional: Path, arguments: tuple[str, ...], wanted: list[str]
) -> None:
    refused(ddpmx("sample", unconditional, *arguments), wanted)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--classes", "3,12"), ["--classes", "'12'", "valid: 0, 1, 2"]),
        (("--classes", "1,2,3", "-n", "2"), ["--classes", "-n 3"]),
        (("--guidance", "nan"), ["--guidance", "nan is not a finite number"]),
        (("--guidance", "inf"), ["--guidance", "inf is not a finite number"]),
        (("--guidance", "1e7"), ["--guidance", "0 to 1e+06"]),
        (
            ("--guidance", "2", "-s", "train.label_dropout=0", "-s", "guidance.weight=1"),
            ["--guidance", "label_dropout"],
        ),
    ],
)
def test_options_that_a_conditional_run_refuses(
    ddpmx: Run, conditional: Path, arguments: tuple[str, ...], wanted: list[str]
) -> None:
    refused(ddpmx("sample", conditional, *arguments), wanted)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("lr: 1e-3", "lr: 1e-3, label_dropout: 0.1", ["tiny.yaml:6", "train.label_dropout", "model.classes"]),
        ("train:", "guidance: {weight: 2}\ntrain:", ["tiny.yaml:6", "guidance", "model.classes"]),
        ("dim_mults: [1, 2]", "dim_mults: [1, 2], classes: maybe", ["tiny.yaml:4", "model.classes"]),
        ("train:", "guidance: {weight: -1}\ntrain:", ["tiny.yaml:6", "guidance.weight"]),
        ("train:", "guidance: {interval: [2, -2]}\ntrain:", ["tiny.yaml:6", "guidance", "low < high"]),
        ("lr: 1e-3", "lr: 1e-3, label_dropout: 1", ["tiny.yaml:6", "train.label_dropout"]),
    ],
)
def test_specs_that_mean_nothing_are_refused(
    ddpmx: Run, tmp_path: Path, old: str, new: str, wanted: list[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace(old, new))
    refused(ddpmx("validate", tmp_path / "tiny.yaml"), wanted)


def test_data_without_labels_are_refused_at_model_classes(ddpmx: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index in range(40):
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(
            tmp_path / f"pictures/{index:02d}.png"
        )
    path = tmp_path / "tiny.yaml"
    path.write_text(CONDITIONAL.replace("dataset: digits", "dataset: {name: image_folder, path: pictures}"))
    refused(ddpmx("run", path, "--out", tmp_path / "runs"), ["tiny.yaml:4", "model.classes", "no labels"])
    assert not (tmp_path / "runs").exists()
    refused(ddpmx("show", path), ["tiny.yaml:4", "model.classes", "no labels"])


def refused(result: Result, wanted: list[str]) -> None:
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    for text in wanted:
        assert text in result.err, result.err
