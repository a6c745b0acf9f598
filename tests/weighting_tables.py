"""Tables on which weightings are tested, and the names of the predictions."""

from __future__ import annotations

from torch import Tensor

from ddpmx.components.registry import SCHEDULES
from ddpmx.schedules import Table, variance_preserving

NAMES = ["epsilon", "x_start", "v", "velocity"]


def vp(schedule: str, timesteps: int = 1000) -> Table:
    """The table of this schedule with its default parameters."""
    return SCHEDULES.build(schedule, timesteps=timesteps).table()


def table_of(log_snr: Tensor) -> Table:
    """The variance-preserving table with this log-SNR."""
    return Table(*variance_preserving(log_snr))
