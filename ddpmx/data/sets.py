"""Data sets that are read as rows: three well-known ones, and any others in parquet files or on the Hub."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ..components.registry import DATASETS
from .averaging import Averaging
from .base import Images
from .decode import Channels
from .hub import Repository
from .tabular import Tabular


class WellKnown(Averaging, Tabular):
    """Data sets whose images have one known size, and can be averaged down to a smaller one."""

    def shaped(self, images: Images) -> Images:
        return self.averaged(images)


@DATASETS.register(
    "mnist", paper="LeCun et al. 1998, Gradient-based learning applied to document recognition"
)
class Mnist(WellKnown):
    """60,000 training and 10,000 test images of handwritten digits, 28×28, grey; never flipped."""

    repository: ClassVar[str] = "ylecun/mnist"


@DATASETS.register("fashion_mnist", paper="Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747")
class FashionMnist(WellKnown):
    """60,000 training and 10,000 test photographs of clothes, 28×28, grey."""

    repository: ClassVar[str] = "zalando-datasets/fashion_mnist"
    flip: bool = False
    """Mirror half of the images left to right in training."""


@DATASETS.register("cifar10", paper="Krizhevsky 2009, Learning multiple layers of features from tiny images")
class Cifar10(WellKnown):
    """50,000 training and 10,000 test photographs of ten kinds of animals and vehicles, 32×32, RGB."""

    repository: ClassVar[str] = "uoft-cs/cifar10"
    flip: bool = False
    """Mirror half of the images left to right in training."""


class Custom(Tabular):
    """Fields for data sets whose columns and image shape ddpmx does not know in advance."""

    image_column: str | None = None
    """The column of encoded images; null: the first column of images, or the one called `image` or `img`."""
    label_column: str | None = None
    """The column of labels; null: the first column of class labels, or the one called `label`."""
    size: int | None = Field(default=None, ge=8, le=4096)
    """Resize the shorter side to this and crop the centre; null: all images are square and of one size."""
    channels: Channels = None
    """1: grey, 3: RGB, null: grey if all images are grey."""
    flip: bool = False
    """Mirror half of the images left to right in training."""

    def columns(self) -> tuple[str | None, str | None]:
        return self.image_column, self.label_column

    def image_shape(self) -> tuple[int | None, Channels]:
        return self.size, self.channels


@DATASETS.register("parquet")
class Parquet(Custom):
    """A folder of parquet files, laid out as on the Hub, or one file; file names define the splits."""

    path: str
    """The folder or file, relative to the spec."""


@DATASETS.register("hub")
class Hub(Custom):
    """Any image data set on the Hugging Face Hub, or a copy of its folder in `$DDPMX_DATA/hub/<repo>`.

    The cache identifies it by name, so give a `revision` if the repository may change.
    """

    repo: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    """The repository: owner/name."""
    config: str | None = None
    """The configuration (subset); needed if there are several."""
    revision: str | None = None
    """A commit, tag or branch; null: the newest."""

    def hub_repository(self) -> Repository:
        return Repository(self.repo, self.config, self.revision)

    def subfolder(self) -> str:
        return f"hub/{self.repo}"
