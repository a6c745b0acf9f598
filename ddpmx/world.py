"""The processes of one run: one by default, many under torchrun or accelerate launch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process's place among all. Sums are over processes; every process gets the result."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Join the group that the launcher's environment describes, if there is one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            # One process samples or trains a classifier while others wait, which may take long.
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def part(self, items: Tensor) -> Tensor:
        """This process's contiguous share of the first dimension."""
        return items.tensor_split(self.size)[self.rank]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process, so that all stop at the same step."""
        return flag if self.size == 1 else bool(self.sum_(torch.tensor(float(flag), device=device)) > 0)

    def from_main(self, tensor: Tensor) -> None:
        """Overwrite with the first process's values."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def text(self, text: str, device: torch.device) -> str:
        """The first process's text."""
        if self.size == 1:
            return text
        data = torch.zeros(4096, dtype=torch.uint8)
        if self.is_main:
            encoded = text.encode()
            data[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
        data = data.to(device)
        self.from_main(data)
        return bytes(data.cpu().tolist()).rstrip(b"\0").decode()

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()
