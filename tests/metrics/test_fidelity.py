"""fid, is and kid against torch-fidelity on the same random weights, and the files of these weights."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result, epochs, only_run
from metric_subjects import noise
from safetensors.torch import save_file

from ddpmx import METRICS, SpecError, Subject
from ddpmx.data import Data, Images
from ddpmx.metrics.inception import Inception

torch_fidelity = pytest.importorskip("torch_fidelity")
CPU = torch.device("cpu")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data() -> Data:
    blank = Data("noise", *(Images(torch.zeros(2, 3, 12, 12, dtype=torch.uint8)) for _ in range(3)))
    return Data(
        "noise", *(Images(noise(blank, n, 0, high, seed=n)) for n, high in ((4, 99), (4, 99), (12, 160)))
    )


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights whose outputs differ from image to image."""
    network = _empty()
    torch.manual_seed(0)
    for name, tensor in network.items():
        if tensor.dim() == 4:
            torch.nn.init.kaiming_normal_(tensor)
        elif name == "fc.weight":
            torch.nn.init.normal_(tensor, std=0.3)
    return network


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(state, path)
    return path


def _empty() -> dict[str, torch.Tensor]:
    """Names and shapes of torch-fidelity's network, made without its constructor's loading."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_, **__: None)
        return module.FeatureExtractorInceptionV3("empty", ["2048"]).state_dict()


class Listed(torch.utils.data.Dataset):
    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def truth(
    data: Data, state: dict[str, torch.Tensor], drawn: torch.Tensor, tmp_path: Path, **asked: object
) -> dict[str, float]:
    torch.save(state, tmp_path / "weights.pth")
    options = {"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True}
    file = str(tmp_path / "weights.pth")
    inputs = {"input1": Listed(drawn), "input2": Listed(data.test.pixels)}
    return torch_fidelity.calculate_metrics(**inputs, **options, **asked, feature_extractor_weights_path=file)


def test_torch_fidelity_finds_the_same_is_and_kid(
    data: Data, state: dict[str, torch.Tensor], weights: Path, tmp_path: Path
) -> None:
    drawn = noise(data, 12)
    found = truth(
        data, state, drawn, tmp_path, isc=True, kid=True, isc_splits=3, kid_subsets=10, kid_subset_size=10
    )
    subject = Subject(data, drawn)
    options = {"is": {"splits": 3}, "kid": {"subsets": 10, "subset_size": 10}}
    scores = {
        name: METRICS.build(name, weights=str(weights), **more).compute(subject)[name]
        for name, more in options.items()
    }
    divergence = math.log(
        scores["is"].value
    )  # so that the 1 which every score has does not hide a difference
    assert divergence == pytest.approx(math.log(found["inception_score_mean"]), rel=1e-4)
    assert divergence > 1e-3
    assert scores["kid"].value == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-4)
    assert {score.extractor for score in scores.values()} == {Inception(str(weights), CPU).hash}


@pytest.mark.slow  # torch-fidelity takes the eigenvalues of a 2048×2048 matrix that is not symmetric
def test_torch_fidelity_finds_the_same_fid(
    data: Data, state: dict[str, torch.Tensor], weights: Path, tmp_path: Path
) -> None:
    drawn = noise(data, 12)
    found = truth(data, state, drawn, tmp_path, fid=True)["frechet_inception_distance"]
    assert METRICS.build("fid", weights=str(weights)).compute(Subject(data, drawn))[
        "fid"
    ].value == pytest.approx(found, rel=1e-4)


def test_grey_images_are_seen_as_three_equal_channels(weights: Path) -> None:
    grey = torch.arange(2 * 36, dtype=torch.uint8).view(2, 1, 6, 6) * 3
    inception = Inception(str(weights), CPU)
    with torch.no_grad():
        assert torch.equal(inception.features(grey), inception.features(grey.repeat(1, 3, 1, 1)))


def test_both_kinds_of_file_give_one_extractor(
    state: dict[str, torch.Tensor], weights: Path, tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "weights.pth")
    before = torch.get_rng_state()
    assert Inception(str(tmp_path / "weights.pth"), CPU).hash == Inception(str(weights), CPU).hash
    assert torch.equal(torch.get_rng_state(), before)


def test_files_that_are_not_the_weights_are_refused(data: Data, tmp_path: Path) -> None:
    """Before a run starts, naming the file; the code in a pickle never runs."""

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    attack, noise_, other, part = (
        tmp_path / name for name in ("attack.pth", "noise.pth", "other.safetensors", "tensor.pth")
    )
    attack.write_bytes(pickle.dumps({"a": Attack()}, protocol=2))
    torch.save({"a": Attack()}, tmp_path / "archive.pth")
    noise_.write_bytes(b"no weights")
    save_file({"a": torch.zeros(1)}, other)
    torch.save(torch.zeros(1), part)
    for file in (attack, tmp_path / "archive.pth", noise_, other, part):
        with pytest.raises(SpecError, match=file.name) as found:
            METRICS.build("fid", weights=str(file)).check(data)
        assert found.value.field == "weights"
    assert not (tmp_path / "ran").exists()


def test_where_the_weights_are_looked_for(
    data: Data, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path))
    fid = METRICS.build("fid")
    assert f"{tmp_path}/inception/inception.safetensors" in fid.missing()
    fid.check(data)
    assert METRICS.build("precision_recall", features="inception").missing() == fid.missing()
    assert (
        METRICS.build("precision_recall").missing()
        == METRICS.build("fid", weights=str(weights)).missing()
        == ""
    )
    assert "nowhere.pth" in METRICS.build("kid", weights="nowhere.pth").missing()
    (tmp_path / "inception").mkdir()
    (tmp_path / "inception" / "inception.safetensors").symlink_to(weights)
    assert fid.missing() == ""


def test_without_weights_a_run_goes_on_and_evaluate_says_why(
    ddpmx: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPMX_DATA", str(tmp_path))
    spec = tmp_path / "tiny.yaml"
    spec.write_text(TINY.replace("samples: 8", "samples: 8, metrics: [pixel_fd, fid]"))
    trained = ddpmx("run", spec, "--out", tmp_path / "runs")
    assert trained.code == 0
    assert "the metric 'fid' is skipped: no Inception weights" in trained.err
    run = only_run(tmp_path / "runs")
    (event,) = epochs(run)
    assert event["metrics"].keys() == event["scores"].keys() == {"pixel_fd"}
    assert event["scores"]["pixel_fd"]["value"] == event["metrics"]["pixel_fd"]
    assert event["scores"]["pixel_fd"]["n"] == 8
    refused = ddpmx("evaluate", run, "--metrics", "fid")
    assert refused.code == 2
    assert "evaluate.metrics.0" in refused.err
    assert "inception/inception.safetensors" in refused.err
