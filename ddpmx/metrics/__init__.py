"""Metrics of models and of the images that they make."""

from .base import Metric as Metric
from .bpd import Bpd as Bpd
from .cnn import FdCnn as FdCnn
from .cnn import IsCnn as IsCnn
from .pixel_fd import PixelFd as PixelFd
from .score import Score as Score
from .subject import Subject as Subject
