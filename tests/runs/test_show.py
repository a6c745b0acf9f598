"""`show` plots a spec without training it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ddpmx
from ddpmx import ops
from ddpmx.errors import SpecError
from ddpmx.models import Model
from ddpmx.pages.plots import CAPTIONS
from ddpmx.runs.show import noising_strip, show
from ddpmx.spec.loading import load


def test_the_strip_shows_the_noise_levels_of_training():
    """Each row is the image, then signal·x_0 + sigma·ε with one ε; bytes are 127.5·(x + 1), clipped."""
    table = ddpmx.SCHEDULES.build("cosine", timesteps=50).table()
    pixels = torch.arange(3 * 48 * 48).reshape(3, 1, 48, 48).remainder(256).to(torch.uint8)
    levels = torch.tensor([0, 10, 49])
    strip = np.asarray(noising_strip(pixels, table, levels, seed=7))
    noise = ops.normal(torch.arange(3), ops.stream(ops.Purpose.NOISE, 0), 7, (1, 48, 48)).double().numpy()
    x_start = pixels.double().numpy() / 127.5 - 1
    for row in range(3):
        for column, t in enumerate([None, *levels.tolist()]):
            top, left = 2 + 50 * row, 2 + 50 * column
            tile = strip[top : top + 48, left : left + 48].astype(float)
            x = (
                x_start[row, 0]
                if t is None
                else float(table.signal[t]) * x_start[row, 0] + float(table.sigma[t]) * noise[row, 0]
            )
            np.testing.assert_allclose(tile, (x.clip(-1, 1) + 1) * 127.5, atol=0.51)


def test_the_strip_of_an_exploding_schedule_is_rescaled():
    """x_t is divided by √(1 + sigma²): the last tile has variance 1, and its 32 % beyond ±1 are clipped."""
    table = ddpmx.SCHEDULES.build("edm", timesteps=50).table()
    pixels = torch.full((1, 1, 64, 64), 200, dtype=torch.uint8)
    strip = np.asarray(noising_strip(pixels, table, torch.tensor([25, 49]), seed=7))
    noise = (
        ops.normal(torch.arange(1), ops.stream(ops.Purpose.NOISE, 0), 7, (1, 64, 64)).double().numpy()[0, 0]
    )
    for column, t in enumerate([25, 49], start=1):
        sigma = float(table.sigma[t])
        x = (200 / 127.5 - 1 + sigma * noise) / np.sqrt(1 + sigma**2)
        tile = strip[2:66, 2 + 66 * column : 66 + 66 * column].astype(float)
        np.testing.assert_allclose(tile, (x.clip(-1, 1) + 1) * 127.5, atol=0.51)


@pytest.mark.parametrize(
    ("schedule", "left"),
    [("edm", "1.2 %"), ("flow", "0 %"), ("{name: linear, zero_terminal_snr: true}", "0 %")],
)
def test_the_page_says_how_much_of_the_image_is_left(schedule: str, left: str, tiny: Path, tmp_path: Path):
    """1/√(1 + 80²) is 1.25 %."""
    block = schedule if schedule.startswith("{") else f"{{name: {schedule}}}"
    text = tiny.read_text().replace("{name: cosine, timesteps: 20}", block.replace("}", ", timesteps: 20}"))
    tiny.write_text(text + "prediction: velocity\n")
    assert f"the last step keeps {left} of the image" in show(load(tiny), tmp_path / "page.html").read_text()


def test_the_page_has_everything_and_no_network_is_built(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = load(tiny)

    def build(self: Model, channels: int, size: int) -> None:
        raise AssertionError("show built a network")

    monkeypatch.setattr(type(spec.model), "build", build)
    page = show(spec, tmp_path / "new" / "page.html")
    html = page.read_text()
    for text in (
        "tiny",
        "cosine (timesteps 20",
        "20 network evaluations",
        "3 network evaluations",
        "1,437 training images of 8×8, grey",
    ):
        assert text in html
    # two figures are for another family of schedules and for finished runs
    assert html.count("<svg ") == len(CAPTIONS) - 2
    assert html.count("<img ") == 1
    assert "http-equiv" in html
    assert len(html) < 500_000


def test_the_page_omits_defaults(tiny: Path, tmp_path: Path):
    tiny.write_text(
        tiny.read_text() + "loss: {weighting: {name: learned, base: {name: min_snr, gamma: 3.0}}}\n"
    )
    html = show(load(tiny), tmp_path / "a.html").read_text()
    assert "cosine (timesteps 20)" in html
    assert "weighting learned (base min_snr (gamma 3))" in html
    tiny.write_text(
        tiny.read_text()
        .replace("{name: min_snr, gamma: 3.0}", "constant")
        .replace("timesteps: 20", "timesteps: 20, snr_shift: 0.5")
    )
    html = show(load(tiny), tmp_path / "b.html").read_text()
    assert "cosine (timesteps 20, snr_shift 0.5)" in html
    assert "weighting learned, time" in html


def test_the_page_is_deterministic(tiny: Path, tmp_path: Path):
    pages = [show(load(tiny), tmp_path / f"{name}.html").read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_another_suffix_is_refused(tiny: Path, tmp_path: Path):
    with pytest.raises(SpecError, match=r"should end in \.html"):
        show(load(tiny), tmp_path / "page.pdf")
    assert not (tmp_path / "page.pdf").exists()


def test_an_error_in_the_spec_names_its_line(tiny: Path, tmp_path: Path):
    tiny.write_text(tiny.read_text() + "loss: {weighting: vlb}\n")
    with pytest.raises(SpecError, match=rf"{tiny}:8: loss\.weighting: .*index 0"):
        show(load(tiny), tmp_path / "page.html")
