"""The page on the study: its tables and figures from what is published, at one scale and at several."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import study_page
import torch
from study_curves import gains, normalised
from study_grids import COLUMNS, GAP, strip
from study_page import DOCS, published_scales, renewed, tables
from study_plan import FOLDER, Study
from study_publish import publish
from test_study import made, runs_of, specs, template, tiny_study

from ddpmx.images import grid
from ddpmx.storage.folder import FINAL
from ddpmx.sweeps.points import load_sweep

__all__ = ["made", "specs", "template", "tiny_study"]  # fixtures


def test_one_scale_has_its_verdicts_and_two_stand_side_by_side(made: Study, tmp_path: Path) -> None:
    first, second = tmp_path / "tiny", tmp_path / "other"
    publish(made, first)
    (verdict,) = json.loads((first / "claims.json").read_text())
    heading, _, row = tables([first])["timesteps"].splitlines()
    assert heading == "| claim | verdict | measured here | the study's figures | seeds |"
    assert row.startswith(f"| a longer \\| chain is better | **{verdict['verdict']}** | [ratio ")
    assert row.endswith(" | 2 |")
    (link,) = re.findall(r"\]\((.*?)\)", row)
    assert (DOCS / link).resolve() == first / "claims.json"
    shutil.copytree(first, second)
    shutil.rmtree(second / "timesteps" / "timesteps-seed_0-timesteps_10")
    shutil.rmtree(second / "timesteps" / "timesteps-seed_1-timesteps_10")
    heading, _, row = tables([first, second])["timesteps"].splitlines()
    assert heading == "| claim | tiny | tiny: measured | other | other: measured | the study's figures |"
    cells = row.split(" | ")
    assert [cells[1], cells[3]] == [f"**{verdict['verdict']}**", "**undecided**"]
    assert cells[2].endswith("(2 seeds)")
    shutil.rmtree(second / "timesteps")  # a question that this scale has not begun
    assert tables([first, second])["timesteps"].splitlines()[2].split(" | ")[3:5] == ["–", "–"]


def test_an_average_gains_the_ratio_of_the_means_over_seeds(made: Study) -> None:
    runs = [runs_of(made)[f"losses-seed_{seed}-l1"] for seed in (0, 1)]
    assert gains(runs) == pytest.approx({0.0: 1, 0.05: 3 / 4, 0.1: 2.75 / 4})
    assert gains(runs[:1]) == pytest.approx({0.0: 1, 0.05: 3 / 4, 0.1: 2 / 4})
    assert gains([]) == {}


def test_a_strip_has_the_first_images_of_the_grid(made: Study) -> None:
    run = runs_of(made)["losses-seed_0-l1"]
    count = run.spec["evaluate"]["grid"]
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    grid(pixels).save(run.path / FINAL)
    images = strip(run)
    assert images is not None
    shown = min(count, COLUMNS)
    assert images.shape == (8, shown * (8 + GAP) - GAP, 1)
    for index in range(shown):
        tile = images[:, index * (8 + GAP) :][:, :8, 0]
        assert np.array_equal(tile, pixels[index, 0].numpy())


def test_effective_weights_are_densities_over_log_snr() -> None:
    specs = load_sweep(FOLDER / "losses.yaml", ["sweep.seed=[0]"]).by_label
    curves = {label: normalised(points[0]) for label, points in specs.items()}
    for x, y in curves.values():
        assert -np.trapezoid(y, x) == pytest.approx(1)
    # ε's error is x_0's times the square root of the SNR
    x, y = curves["l2"]
    inner = slice(1, -1)
    expected = np.exp(x[inner]) / (x[:-2] - x[2:])
    assert y[inner] / expected == pytest.approx(np.full(len(x) - 2, y[1] / expected[0]), rel=1e-9)
    assert curves["huber"][1] == pytest.approx(y)


def test_the_page_has_the_verdicts_that_are_published() -> None:
    if not (scales := published_scales()):
        pytest.skip("the study is not published")
    page = (DOCS / "study.md").read_text()
    assert renewed(page, scales) == page


@pytest.mark.slow
def test_all_figures_are_drawn_for_two_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (scales := published_scales()):
        pytest.skip("the study is not published")
    shutil.copytree(scales[0], tmp_path / "other")
    for run in (tmp_path / "other" / "schedules").glob("schedules-*"):  # a question that is not begun
        shutil.rmtree(run)
    shutil.copy(DOCS / "study.md", tmp_path)
    monkeypatch.setattr(study_page, "DOCS", tmp_path)
    study_page.main([scales[0], tmp_path / "other"])
    names = ["", "_timesteps", "_schedules", "_losses", "_weights", "_signal", "_averages"]
    names += [f"_grids_{name}" for name in (scales[0].name, "other")]
    assert all((tmp_path / f"study{name}.png").stat().st_size > 5000 for name in names)
    page = (tmp_path / "study.md").read_text()
    assert "| other: measured |" in page
    assert "(study_grids_other.png)" in page
