"""The benchmarks' baselines compute the same results as ddpmx."""

from pathlib import Path

import pytest
import torch

from ddpmx import MODELS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_baseline_is_our_network_and_has_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("einops")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from study_eager import StudyEager

    torch.manual_seed(0)
    ours = MODELS.build("convnext_unet", dim=12, dim_mults=(1, 2, 4)).build(3, 8)
    for p in ours.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.1)
    theirs = StudyEager.of(ours, 3, 12, (1, 2, 4))
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    x, t = torch.randn(4, 3, 8, 8), torch.rand(4) * 500
    y, plain = ours(x, t), theirs(x, t)
    torch.testing.assert_close(y, plain, rtol=1e-4, atol=1e-4)
    y.square().sum().backward()
    plain.square().sum().backward()
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        if name in named:
            error = (p.grad - named[name].grad.reshape(p.shape)).norm() / p.grad.norm().clamp(min=1e-2)
            assert error < 1e-3, name


def test_memory_is_kept_only_where_the_user_does_not_say_how(monkeypatch: pytest.MonkeyPatch) -> None:
    import ddpmx.process.allocator as allocator

    called = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            called.append((parameter, value))
            return 1

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    for variable in (
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TOP_PAD_",
        "GLIBC_TUNABLES",
        "LD_PRELOAD",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in (
        ("MALLOC_MMAP_THRESHOLD_", "1000"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1"),
        ("LD_PRELOAD", "x.so"),
    ):
        with monkeypatch.context() as inner:
            inner.setenv(variable, value)
            allocator.keep_memory()
    assert called == []
    allocator.keep_memory()
    assert {parameter for parameter, _ in called} == {-1, -3}  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    called.clear()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    allocator.keep_memory()
    assert called == []
