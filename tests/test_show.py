"""`show` draws a spec without training it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ddpmx
from ddpmx import ops
from ddpmx.errors import SpecError
from ddpmx.models import Model
from ddpmx.plots import CAPTIONS
from ddpmx.show import noised, show
from ddpmx.spec_file import load


def test_the_strip_is_the_noising_that_training_sees():
    """Row by row: the image, then signal·x_0 + sigma·ε with one ε for each image; bytes are 127.5·(x + 1), cut at both ends."""
    table = ddpmx.SCHEDULES.build("cosine", timesteps=50).table()
    pixels = torch.arange(3 * 48 * 48).reshape(3, 1, 48, 48).remainder(256).to(torch.uint8)
    levels = torch.tensor([0, 10, 49])
    strip = np.asarray(noised(pixels, table, levels, seed=7))
    noise = ops.normal(torch.arange(3), ops.stream(ops.Purpose.NOISE, 0), 7, (1, 48, 48)).double().numpy()
    x_start = pixels.double().numpy() / 127.5 - 1
    for row in range(3):
        for column, t in enumerate([None, *levels.tolist()]):
            top, left = 2 + 50 * row, 2 + 50 * column
            tile = strip[top : top + 48, left : left + 48].astype(float)
            x = x_start[row, 0] if t is None else float(table.signal[t]) * x_start[row, 0] + float(table.sigma[t]) * noise[row, 0]
            np.testing.assert_allclose(tile, (x.clip(-1, 1) + 1) * 127.5, atol=0.51)


def test_the_page_has_everything_and_no_network_is_built(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = load(tiny)

    def build(self: Model, channels: int, size: int) -> None:
        raise AssertionError("show built a network")

    monkeypatch.setattr(type(spec.model), "build", build)
    page = show(spec, tmp_path / "new" / "page.html")
    html = page.read_text()
    for said in ("tiny", "cosine (timesteps 20", "20 network evaluations", "3 network evaluations", "1,437 training images of 8×8, grey"):
        assert said in html
    assert html.count("<svg ") == len(CAPTIONS) - 1
    assert html.count("<img ") == 1
    assert "http-equiv" in html
    assert len(html) < 500_000


def test_the_page_is_deterministic(tiny: Path, tmp_path: Path):
    pages = [show(load(tiny), tmp_path / f"{name}.html").read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_another_suffix_is_refused(tiny: Path, tmp_path: Path):
    with pytest.raises(SpecError, match=r"should end in \.html"):
        show(load(tiny), tmp_path / "page.pdf")
    assert not (tmp_path / "page.pdf").exists()


def test_a_spec_that_does_not_work_is_placed_at_its_line(tiny: Path, tmp_path: Path):
    tiny.write_text(tiny.read_text() + "loss: {weighting: vlb}\n")
    with pytest.raises(SpecError, match=rf"{tiny}:8: loss\.weighting: .*index 0"):
        show(load(tiny), tmp_path / "page.html")
