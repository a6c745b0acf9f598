"""InceptionV3 as the FID papers use it: torch-fidelity's network, with weights from a local file."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import SpecError
from ..files import expanded, kind
from .base import Metric
from .features import Extractor, weights_hash

FEATURES = 2048
"""Features of the last pooling layer."""
FILES = ("inception.safetensors", "weights-inception-2015-12-05-6726825d.pth")
"""Default names of the weights in `$DDPMX_DATA/inception/`; the second is the one that torch-fidelity
publishes."""


class InceptionMetric(Metric):
    """Base of the metrics in Inception's features."""

    weights: str | None = None
    """File of the network's weights under torch-fidelity's names, safetensors or .pth; null:
    `$DDPMX_DATA/inception/inception.safetensors`, or `weights-inception-2015-12-05-6726825d.pth` there.
    Nothing is downloaded, and no pickled code is run."""

    def missing(self) -> str:
        return missing_inception(self.weights)


class Inception(Extractor):
    """The 2048 features of Inception's last pooling layer."""

    preprocessing = (
        "8-bit values, grey as 3 channels, bilinear to 299×299 as in TensorFlow 1, (x − 128) / 128"
    )
    batch = 50

    def __init__(self, weights: str | None, device: torch.device) -> None:
        """Load the weights, which exist (`missing_inception`). Raises SpecError if the file can't be used."""
        path = _file(weights)
        assert path is not None
        self._network, self.hash = _load(path, path.stat().st_mtime_ns)
        self._network.to(device)
        self._device = device

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, 2048] on the CPU, of uint8 [n, 1 or 3, h, w]."""
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self._network(pixels.expand(-1, 3, -1, -1).to(self._device))[0].cpu()  # type: ignore[no-any-return]

    def logits(self, features: Tensor) -> Tensor:
        """float32 [n, 1008], without the bias, as in the original implementation of the inception score."""
        return features @ self._network.fc.weight.cpu().T  # type: ignore[no-any-return]


def missing_inception(weights: str | None) -> str:
    """What is missing to use Inception, and how to provide it; empty if nothing is."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return "torch-fidelity is not installed: pip install 'ddpmx[fidelity]'"
    if _file(weights) is not None:
        return ""
    if weights is not None:
        return f"no such file of Inception weights: {weights}"
    default = f"{os.environ.get('DDPMX_DATA', '$DDPMX_DATA')}/inception/{FILES[0]}"
    return f"no Inception weights: name their file with `weights:`, or put it at {default}"


def check_inception(weights: str | None) -> None:
    """Raises SpecError if the weights' file exists and can't be used."""
    if not missing_inception(weights):
        Inception(weights, torch.device("cpu"))


def _file(weights: str | None) -> Path | None:
    """The weights' file; None if there is none."""
    candidates: list[Path] = []
    if weights is not None:
        candidates = [expanded(weights)]
    elif os.environ.get("DDPMX_DATA"):
        candidates = [expanded(os.environ["DDPMX_DATA"]) / "inception" / name for name in FILES]
    return next((path for path in candidates if kind(path) == "file"), None)


@lru_cache(maxsize=1)
def _load(path: Path, modified: int) -> tuple[Any, str]:
    """The network in evaluation mode, and its weights' hash. `modified` is the file's time, for the cache."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        tensors = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
            raise ValueError("it should contain tensors only")
        # the constructor can only unpickle or download, so it gets these tensors as a pickle
        packed = io.BytesIO()
        torch.save(dict(tensors), packed)
        packed.seek(0)
        with torch.random.fork_rng(devices=[]):
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=packed
            )
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        AttributeError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpecError(
            f"{path} does not contain the weights of torch-fidelity's InceptionV3: {reason[:200]}",
            field="weights",
        ) from None
    return network, weights_hash(network.state_dict())
