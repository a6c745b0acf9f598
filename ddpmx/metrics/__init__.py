"""Metrics of generated images."""

from .base import Metric as Metric
from .cnn import FdCnn as FdCnn
from .cnn import IsCnn as IsCnn
