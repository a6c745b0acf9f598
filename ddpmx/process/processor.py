"""What this machine's processor can do."""

from __future__ import annotations

import platform

import torch


def has_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16 numbers (AVX512-BF16, AMX or ARM's BF16).

    oneDNN's own check is also true for x86 processors with AVX-512 that emulate them.
    """
    if platform.machine() in ("aarch64", "arm64"):
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
