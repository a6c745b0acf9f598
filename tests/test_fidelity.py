"""fid, is and kid against torch-fidelity on the same random weights, and the files that these weights come from."""

from pathlib import Path

import pytest
import torch
from metric_subjects import noise
from safetensors.torch import save_file

from ddpmx import METRICS, Subject
from ddpmx.data import Data, Images
from ddpmx.metrics.inception import Inception

torch_fidelity = pytest.importorskip("torch_fidelity")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Data:
    blank = Data("noise", *(Images(torch.zeros(2, 3, 12, 12, dtype=torch.uint8)) for _ in range(3)))
    return Data("noise", *(Images(noise(blank, n, 0, high, seed=n)) for n, high in ((4, 99), (4, 99), (24, 160))))


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


def test_torch_fidelity_finds_the_same(data: Data, state: dict[str, torch.Tensor], weights: Path, tmp_path: Path) -> None:
    drawn = noise(data, 24)
    torch.save(state, tmp_path / "weights.pth")
    truth = torch_fidelity.calculate_metrics(
        input1=Listed(drawn),
        input2=Listed(data.test.pixels),
        cuda=False,
        isc=True,
        fid=True,
        kid=True,
        kid_subset_size=20,
        kid_subsets=10,
        isc_splits=3,
        cache=False,
        verbose=False,
        feature_extractor_weights_path=str(tmp_path / "weights.pth"),
        save_cpu_ram=True,
    )
    subject = Subject(data, drawn)
    options = {"is": {"splits": 3}, "fid": {}, "kid": {"subsets": 10, "subset_size": 20}}
    scores = {name: METRICS.build(name, weights=str(weights), **more).compute(subject)[name] for name, more in options.items()}
    assert scores["is"].value == pytest.approx(truth["inception_score_mean"], rel=1e-4)
    assert scores["fid"].value == pytest.approx(truth["frechet_inception_distance"], rel=1e-4)
    assert scores["kid"].value == pytest.approx(truth["kernel_inception_distance_mean"], rel=1e-4)
    assert scores["is"].value > 1.01
    assert {score.extractor for score in scores.values()} == {Inception(str(weights), CPU).hash}
