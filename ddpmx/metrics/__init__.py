"""Metrics of models and of the images that they make."""

from .base import Metric as Metric
from .base import reference_note as reference_note
from .bpd import Bpd as Bpd
from .cnn import FdCnn as FdCnn
from .cnn import IsCnn as IsCnn
from .fidelity import Fid as Fid
from .fidelity import InceptionScore as InceptionScore
from .fidelity import Kid as Kid
from .pixel_fd import PixelFd as PixelFd
from .precision_recall import PrecisionRecall as PrecisionRecall
from .score import Score as Score
from .subject import Subject as Subject
