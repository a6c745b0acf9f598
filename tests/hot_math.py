"""Inputs for the tests of the hot math, the functions of `ddpmx.ops`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ddpmx import ops
from ddpmx.rows import Row

BACKENDS = [name for name, there in ops.backends().items() if there]


@contextmanager
def on_backend(name: str) -> Iterator[None]:
    """Use a backend, and create tensors on its device."""
    with ops.use_backend(name), torch.device("cuda" if name == "cuda" else "cpu"):
        yield


ROWS = {
    "ddim": Row(t=5, x0_from_x=1.2, x0_from_output=-0.7, c_x=0.8, c_x0=0.3),
    "ddpm": Row(t=5, x0_from_x=1.2, x0_from_output=-0.7, c_x=0.8, c_x0=0.3, c_noise=0.25),
    "last": Row(t=0, x0_from_x=1.01, x0_from_output=-0.1, c_x=0, c_x0=1),
    "anchor": Row(t=2.5, x0_from_x=0.9, x0_from_output=0.4, c_x=0, c_x0=-0.3, c_anchor=0.7, push=False),
    "history": Row(
        t=5,
        x0_from_x=1,
        x0_from_output=-1.3,
        c_x=0.5,
        c_x0=1.1,
        c_history=(-0.6, 0.0, 0.2),
        m_x=0.4,
        m_x0=-0.9,
    ),
    "all": Row(
        t=5,
        x0_from_x=1,
        x0_from_output=-1,
        c_x=0.5,
        c_x0=0.4,
        c_anchor=-0.3,
        c_history=(0.2, -0.1, 0.05),
        c_noise=0.7,
        m_x=1,
        m_x0=2,
    ),
    "nothing": Row(t=5, x0_from_x=0, x0_from_output=0, c_x=0, c_x0=0, m_x0=0),
}


def ids_of(batch: int) -> Tensor:
    return torch.arange(batch) * 1_000_003 + 2**33


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(
        torch.get_default_device(), dtype
    )


LAYOUTS = ("channels last", "transposed", "batch last", "strided", "expanded")


def layouts(x: Tensor) -> dict[str, Tensor]:
    """x [B, C, H, W] in other memory layouts."""
    padded = torch.zeros(x.shape[0], x.shape[1], x.shape[2], 2 * x.shape[3], dtype=x.dtype)[..., ::2]
    expanded = x[:1].expand_as(x)
    return {
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "batch last": x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "strided": padded.copy_(x),
        "expanded": expanded,
    }
