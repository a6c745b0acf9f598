"""Data sets: decoded once to bytes, kept in memory."""

from .base import Data as Data
from .base import Dataset as Dataset
from .base import Images as Images
from .cache import cache_root as cache_root
from .digits import Digits as Digits
from .folder import ImageFolder as ImageFolder
from .no_images import NoImages as NoImages
from .sets import Cifar10 as Cifar10
from .sets import FashionMnist as FashionMnist
from .sets import Hub as Hub
from .sets import Mnist as Mnist
from .sets import Parquet as Parquet
