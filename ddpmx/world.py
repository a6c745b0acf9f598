"""The processes of a run: one by default, several under torchrun or accelerate launch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among the processes of its run. Sums are over all processes, and each gets the result."""

    rank: int = 0
    """The number of this process, counted from 0."""
    size: int = 1
    """The number of processes."""

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Join the group that the launcher's environment describes, if there is one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            # One process may sample or train a classifier for hours while the others wait.
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
        return cls(dist.get_rank(), dist.get_world_size())

    @classmethod
    @contextmanager
    def joined(cls, device: torch.device) -> Iterator[World]:
        """The group as a context. Nested contexts share it, as a process can join it only once."""
        outer = dist.is_initialized()
        world = cls.join(device)
        try:
            yield world
        finally:
            if not outer:
                world.leave()

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def part(self, items: Tensor) -> Tensor:
        """This process's contiguous part of the items, along the first dimension."""
        return items.tensor_split(self.size)[self.rank]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process, so that all stop at the same step."""
        return flag if self.size == 1 else bool(self.sum_(torch.tensor(float(flag), device=device)) > 0)

    def from_main(self, tensor: Tensor) -> None:
        """Overwrite a tensor with the values of the main process."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def text(self, text: str, device: torch.device) -> str:
        """The text of the main process, of at most 4096 bytes."""
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
        """Leave the group of processes."""
        if self.size > 1:
            dist.destroy_process_group()
