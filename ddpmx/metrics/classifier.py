"""A small classifier of a data set's own classes, in whose features `fd_cnn` and `is_cnn` measure.

It is trained once per data set, on the CPU and from fixed seeds, and cached. Training it again on the same
machine with the same number of threads gives the same weights. Elsewhere, rounding gives different weights,
and distances that differ by a few percent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data import Data, Images
from ..data.cache import read, write
from ..errors import SpecError
from ..files import cache_root
from ..images import to_model
from ..terminal.progress import track

RECIPE = 1
"""Version of the network and its training, part of the cached file's name: increase it when either
changes."""
FEATURES = 128
MIN_SIZE = 4
"""Smallest side of images, which is halved twice."""
BATCH = 128
EPOCHS, MIN_STEPS = 3, 300
LEARNING_RATE, WEIGHT_DECAY = 6e-3, 1e-2


class Classifier(nn.Module):
    """Three convolutions, then the features, then one logit per class.

    Images are uint8 [n, c, size, size].
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        stride = max(1, size // 32)  # a large image costs about as much as a 32×32 one
        self.body = nn.Sequential(
            *_block(channels, 16, 2 * stride + 1, stride),
            nn.MaxPool2d(2),
            *_block(16, 32, 3),
            nn.MaxPool2d(2),
            *_block(32, 64, 3),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, pixels: Tensor) -> Tensor:
        """The last layer's input, float32 [n, 128], not negative."""
        return self.body(to_model(pixels).contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 [n, classes]."""
        return self.head(self.features(pixels))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier with its accuracy."""

    network: Classifier
    """In evaluation mode, without gradients."""
    accuracy: float
    """Share of the images of `split` that it classifies correctly, 0…1."""
    split: str
    """The last split with labels: test, validation or train."""


def training_labels(data: Data) -> tuple[Tensor, int]:
    """Labels of the training images, int64 [n], and the number of classes.

    Raises SpecError if no classifier can be trained on the data.
    """
    labels = data.train.labels
    if labels is None or data.classes is None or len(data.classes) < 2:
        raise SpecError(
            f"'{data.name}' has no labels: this metric trains a classifier, which needs a labelled set"
        )
    if len(labels) < 2:
        raise SpecError(
            f"'{data.name}' has a single training image: this metric's classifier needs at least 2"
        )
    if data.size < MIN_SIZE:
        raise SpecError(
            f"the images of '{data.name}' have {data.size}×{data.size} pixels: this metric's classifier needs"
            f" at least {MIN_SIZE}×{MIN_SIZE}"
        )
    return labels, len(data.classes)


def classifier(data: Data) -> TrainedClassifier:
    """The data set's classifier, read from the cache or trained. Raises SpecError for data without labels."""
    labels, classes = training_labels(data)
    path = cache_root() / "classifiers" / f"{data.fingerprint}-{RECIPE}.safetensors"

    def fresh() -> Classifier:
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Classifier(data.channels, data.size, classes).to(memory_format=torch.channels_last)

    def unpack(tensors: dict[str, Tensor], facts: dict[str, object]) -> tuple[Classifier, float, str]:
        network, accuracy, split = fresh(), facts["accuracy"], facts["split"]
        network.load_state_dict(tensors)
        if not (
            isinstance(accuracy, float)
            and isinstance(split, str)
            and all(bool(t.isfinite().all()) for t in tensors.values())
        ):
            raise ValueError("not a classifier of this data set")
        return network, accuracy, split

    cached = read(path, unpack)
    if cached is None:
        network = fresh()
        with torch.inference_mode(False), torch.enable_grad():
            _train(network, data.train.pixels, labels)
        network.eval()
        split, held_out = next(
            (split, images) for split, images in reversed([*data.splits()]) if images.labels is not None
        )
        accuracy = _accuracy(network, held_out)
        facts = {"accuracy": accuracy, "split": split, "dataset": data.name, "images": len(data.train)}
        write(path, network.state_dict(), facts)
    else:
        network, accuracy, split = cached
    network.eval().requires_grad_(False)
    network.body = _folded(network.body)
    return TrainedClassifier(network, accuracy, split)


def _folded(body: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode, twice as fast: each BatchNorm is folded into its convolution."""
    layers = list(body)
    folded: list[nn.Module] = []
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            folded.append(fuse_conv_bn_eval(layer, after))
        elif not isinstance(layer, nn.BatchNorm2d):
            folded.append(layer)
    return nn.Sequential(*folded).to(memory_format=torch.channels_last)


def batched(network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Outputs of `network` (features or logits) for all images, computed in batches: float64 [n, …]."""
    with torch.no_grad():
        return torch.cat([network(part).double() for part in pixels.split(500)])


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, BatchNorm and ReLU: [n, inputs, h, w] to [n, outputs, ⌈h/stride⌉, ⌈w/stride⌉]."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _train(network: Classifier, pixels: Tensor, labels: Tensor) -> None:
    """Train with AdamW and a one-cycle learning rate for 3 epochs, or 300 steps if that is more."""
    batch = min(BATCH, len(pixels))
    per_epoch = len(pixels) // batch
    epochs = max(EPOCHS, -(-MIN_STEPS // per_epoch))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * per_epoch, pct_start=0.2
    )
    network.train()
    for step in track(
        range(epochs * per_epoch), "Training the classifier of fd_cnn and is_cnn (once per data set)"
    ):
        if step % per_epoch == 0:
            order = torch.randperm(len(pixels), generator=generator)
        index = order[step % per_epoch * batch :][:batch]
        loss = F.cross_entropy(network(pixels[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _accuracy(network: Classifier, images: Images) -> float:
    """Share of images classified correctly, 0…1."""
    assert images.labels is not None
    return float((batched(network, images.pixels).argmax(1) == images.labels).double().mean())
