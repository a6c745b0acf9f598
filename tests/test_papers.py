"""The claims of papers in experiments/claims/: their sources, their driver, and what is published of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import papers
import papers_estimate
import papers_page
import pytest
import torch
from made_runs import evaluated, run_of
from papers_publish import publish
from study_tables import to_data

from ddpmx.claims.computed import prior_bits
from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.components.registry import SCHEDULES
from ddpmx.spec.claim_checks import measures_of
from ddpmx.spec.claims import claims_of
from ddpmx.spec.loading import merged
from ddpmx.sweeps.claims import judged_claims
from ddpmx.sweeps.points import load_sweep

RESULTS = papers_page.RESULTS
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/claims.json"))
FILES = papers.papers()
CIFAR10_SQUARE = 0.25358
"""The mean square of CIFAR-10's training images in [−1, 1]."""
SWEEP = """# A sweep.
name: tiny
dataset: digits
model: {name: ddpm_unet, dim: 8, dim_mults: [1, 2]}
schedule: {name: cosine, timesteps: 20}
evaluate: {metrics: [fd_cnn], sampler: {name: ddim, steps: 2}}
sweep: {evaluate.sampler.steps: [2, 5], seed: [0, 1]}
claims:
  - says: more steps are better
    source: a paper
    measure: fd_cnn
    test: better
    point: steps_5
    than: steps_2
"""


@pytest.mark.parametrize("name", FILES)
def test_every_claim_of_a_paper_cites_it_and_the_file_says_how_long_it_takes(name: str) -> None:
    head = "".join(re.findall(r"^# .*\n", FILES[name].read_text(), re.MULTILINE))
    assert re.search(r"\b(seconds|minutes?)\b", head)
    claims = claims_of(merged(FILES[name]))
    assert claims
    for claim in claims:
        assert re.search(r"arXiv:\d{4}\.\d{5}|https://github\.com/\S+/issues/\d+", claim.source), claim.says
        assert claim.published is not None or claim.source.startswith("our own"), claim.says


def test_the_schedules_of_papers_end_as_table_1_of_lin_et_al_says(tmp_path: Path) -> None:
    judged = judged_claims(load_sweep(FILES["terminal_signal"]), tmp_path)
    assert judged is not None
    values = {verdict.claim.point: verdict.value for verdict in judged.verdicts}  # type: ignore[union-attr]
    assert values == {
        "linear": pytest.approx(0.006353, abs=5e-7),
        "scaled_linear": pytest.approx(0.068265, abs=5e-7),
        "cosine": pytest.approx(4.928e-5, abs=5e-9),
    }
    assert {verdict.verdict for verdict in judged.verdicts} == {"holds"}


def test_the_published_prior_of_ddpm_is_that_of_images_with_cifar10s_mean_square() -> None:
    (verdict,) = json.loads((RESULTS / "prior_bits" / "claims.json").read_text())
    table = SCHEDULES.build("linear", timesteps=1000).table()
    assert verdict["verdict"] == "holds"
    assert verdict["value"] == pytest.approx(prior_bits(table, CIFAR10_SQUARE), rel=1e-3)
    # KL(N(√ᾱ·x, 1 − ᾱ) ‖ N(0, 1)) ≈ ½ᾱx² nats
    assert verdict["value"] == pytest.approx(
        float(table.alpha_bar[-1]) * CIFAR10_SQUARE / 2 / math.log(2), rel=1e-3
    )


def test_the_page_shows_what_is_published() -> None:
    page = papers_page.PAGE.read_text()
    assert papers_page.renewed(page, RESULTS) == page
    assert re.findall(r"<!-- verdicts of ([a-z_0-9]+) -->", page) != []
    assert set(re.findall(r"<!-- verdicts of ([a-z_0-9]+) -->", page)) == set(FILES)
    assert set(re.findall(r"experiments/claims/([a-z_0-9]+)\.yaml", page)) == set(FILES)


def test_claims_that_are_not_tested_yet_are_undecided_on_the_page(tmp_path: Path) -> None:
    page = "<!-- verdicts of terminal_signal -->\nold\n<!-- end -->\n"
    table = papers_page.renewed(page, tmp_path)
    assert table.count("| terminal_signal | undecided |") == 3
    assert "old" not in table


@pytest.mark.slow
@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_runs_give_the_published_verdicts(folder: Path) -> None:
    judged = judge_files(files_of_claims([folder]))
    if any("cannot be computed here" in verdict.needs for one in judged for verdict in one.verdicts):
        pytest.skip("the images are not on this machine")
    assert to_data(judged) == json.loads((folder / "claims.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_each_claim_of_a_paper_is_judged_once_its_points_have_scores(name: str, tmp_path: Path) -> None:
    grid = load_sweep(FILES[name])
    if papers.is_computed(grid):
        return
    grid = load_sweep(FILES[name], ["sweep.seed=[0, 1]"])
    for index, spec in enumerate(grid.points):
        run = run_of(spec, tmp_path / grid.name)
        for measure in measures_of([spec])[1:]:
            evaluated(run, 5 + 0.5 * index + 0.001 * (index * 7 % 5), metric=measure)
    judged = judged_claims(grid, tmp_path)
    assert judged is not None
    for verdict in judged.verdicts:
        assert (verdict.seeds, verdict.value is None) == (2, False), verdict.needs
        assert "another way" not in verdict.needs
        assert "seeds of" not in verdict.needs


def make_runs(file: Path, out: Path, steps: Sequence[int]) -> None:
    """Finished runs of the tiny sweep's points with these numbers of steps."""
    grid = load_sweep(file)
    for spec in grid.points:
        count = spec.evaluate.sampler.steps
        if count in steps:
            run = run_of(spec, out / grid.name)
            evaluated(run, 10 / count + 0.01 * spec.seed)
            (run / "checkpoints" / "model.safetensors").write_bytes(b"weights")


def test_a_sweep_is_published_with_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study_publish.PAGES", {})
    file, out, results = tmp_path / "tiny.yaml", tmp_path / "runs", tmp_path / "results"
    file.write_text(SWEEP)
    grid = load_sweep(file)
    assert publish(grid, out, results, is_computed=False) == 4
    assert not results.exists()
    make_runs(file, out, [2])
    assert publish(grid, out, results, is_computed=False) == 2
    (verdict,) = json.loads((results / "tiny" / "claims.json").read_text())
    assert (verdict["sweep"], verdict["verdict"]) == ("tiny", "undecided")
    make_runs(file, out, [5])
    assert publish(grid, out, results, is_computed=False) == 0
    (verdict,) = json.loads((results / "tiny" / "claims.json").read_text())
    assert (verdict["verdict"], verdict["seeds"]) == ("holds", 2)
    assert to_data(judge_files(files_of_claims([results / "tiny"]))) == [verdict]
    assert not list(results.rglob("model.safetensors"))
    assert [path.name for path in results.iterdir()] == ["tiny"]


def test_the_driver_runs_what_needs_runs_and_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    (tmp_path / "terminal_signal.yaml").write_text(FILES["terminal_signal"].read_text())
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    monkeypatch.setattr("study_publish.PAGES", {})
    commands: list[list[str]] = []

    def ddpmx(arguments: list[str], accepted: Sequence[int]) -> None:
        commands.append(arguments)
        make_runs(tmp_path / "tiny.yaml", tmp_path / "runs", [2])

    monkeypatch.setattr(papers, "ddpmx", ddpmx)
    where = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert papers.main(where) == 1
    assert commands == [["sweep", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "runs")]]
    printed = capsys.readouterr()
    assert "claims of terminal_signal: 3 hold" in printed.out
    assert "2 points are not finished" in printed.err
    assert papers.main(["terminal_signal", *where]) == 0
    assert len(commands) == 1
    assert papers.main(["terminal_sign", *where]) == 2
    assert "did you mean 'terminal_signal'" in capsys.readouterr().err


def test_an_estimate_counts_a_shared_training_once_and_leaves_out_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP)
    monkeypatch.setattr(papers_estimate, "build", lambda spec, device, training: None)
    monkeypatch.setattr(papers_estimate, "estimate", lambda _: [("training", 60.0), ("a", 4.0), ("b", 2.0)])
    monkeypatch.setattr(papers_estimate, "worker_environments", lambda *_: [{"OMP_NUM_THREADS": "1"}] * 2)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr(papers_estimate, "choose_device", lambda _: torch.device("cpu"))
    papers_estimate.say_estimate({"tiny": load_sweep(file)}, tmp_path / "runs", None)
    # two trainings of 60 s, and four points of 6 s
    assert "tiny: 4 of 4 points are left, 2.4 core-minutes, about 1 min 10 s" in capsys.readouterr().out
    make_runs(file, tmp_path / "runs", [2])  # without checkpoints: the others train anew
    papers_estimate.say_estimate({"tiny": load_sweep(file)}, tmp_path / "runs", None)
    assert "tiny: 2 of 4 points are left, 2.2 core-minutes" in capsys.readouterr().out
