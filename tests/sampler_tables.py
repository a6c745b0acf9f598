"""The table on which samplers are tested, and a plan's timesteps."""

from __future__ import annotations

from ddpmx.components.registry import SCHEDULES
from ddpmx.rows import Plan

LINEAR = SCHEDULES.build("linear", timesteps=1000).table()


def timesteps(plan: Plan) -> list[float]:
    """The index of each row."""
    return [row.t for row in plan]
