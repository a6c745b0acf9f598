"""Claims in a sweep's spec: their file in the sweep's folder, the command that judges them, and the page."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Result
from made_runs import run_of, score

from ddpmx.claims import recorded
from ddpmx.claims.output import print_claims
from ddpmx.claims.section import tables_of
from ddpmx.errors import SpecError
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.claims import claimed, judged_claims, keep_claims, keep_claims_of_part
from ddpmx.sweeps.points import Sweep, load_sweep

Run = Callable[..., Result]
BASE = TINY.replace("samples: 8", "samples: 8, metrics: [fd_cnn]")
SWEEP = "sweep: {seed: [0, 1, 2], loss.norm: [l1, l2, huber]}\n"
CLAIMS = """\
claims:
- {says: l1 is the best, source: "arXiv:1234.56789, table 1", measure: fd_cnn, test: best, point: norm_l1}
- says: l2 wins
  source: see https://a.page/b?c=1.
  measure: fd_cnn
  test: better
  point: norm_l2
  than: norm_l1
- says: two are alike
  source: a <b>friend</b>
  published: {norm_l1: 125.9 ± 4.6, norm_l2: 117.7}
  measure: fd_cnn
  test: equivalent
  point: norm_l2
  to: norm_huber
  margin: 10 %
- says: no signal is left
  source: algebra
  measure: terminal_signal
  test: equals
  point: norm_l1
  value: 0
  within: 0.1
"""
MEANS = {"l1": 4.0, "l2": 8.0, "huber": 7.9}
KEYS = ["sweep", "says", "source", "published", "test", "measure", "verdict", "value", "low", "high", "seeds"]


def spec(folder: Path, text: str = BASE + SWEEP + CLAIMS, name: str = "tiny") -> Path:
    """A spec file with a sweep and claims."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text.replace("name: tiny", f"name: {name}"))
    return file


def make_points(grid: Sweep, out: Path, *seeds: int) -> None:
    """Finished runs of a sweep's points, with scores of fd_cnn that depend on the norm."""
    for point in grid.points:
        if not seeds or point.seed in seeds:
            value = MEANS[point.loss.norm] + 0.1 * ((point.seed * 7 + len(point.loss.norm)) % 3)
            run_of(point, out / grid.name, {"fd_cnn": score(value)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and finished runs of all points, which tests must not change."""
    folder = tmp_path_factory.mktemp("made")
    grid = load_sweep(spec(folder))
    make_points(grid, folder / "runs")
    keep_claims(grid, folder / "runs" / "tiny")
    return folder


def verdicts(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def test_a_spec_and_its_runs_give_the_same_verdicts(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    runs = made / "runs"
    of_spec = verdicts(ddpmx("claims", made / "tiny.yaml", "--out", runs, "--json"))
    assert [each["verdict"] for each in of_spec] == ["holds", "fails", "holds", "holds"]
    assert all(set(KEYS) | {"needs"} <= set(each) for each in of_spec)
    assert [each["sweep"] for each in of_spec] == ["tiny"] * 4
    assert [each["seeds"] for each in of_spec] == [3, 3, 3, 0]
    for path in (runs, runs / "tiny", made):
        assert verdicts(ddpmx("claims", path, "--json")) == of_spec
    shutil.copytree(runs, tmp_path / "published" / "digits")
    for checkpoints in tmp_path.rglob("checkpoints"):
        shutil.rmtree(checkpoints)
    for path in ("published", "published/digits", "published/digits/tiny"):
        assert verdicts(ddpmx("claims", tmp_path / path, "--json")) == of_spec


def test_a_table_shows_the_verdict_the_figures_and_the_source(ddpmx: Run, made: Path) -> None:
    result = ddpmx("claims", made / "runs")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "claims of tiny: 3 hold and 1 fails"
    (row,) = (index for index, line in enumerate(lines) if "two are alike" in line)
    assert lines[row].startswith("holds ")
    assert "norm_l1: 125.9 ± 4.6; norm_l2: 117.7" in lines[row]
    assert "difference " in lines[row]
    assert lines[row].endswith(" 3")
    assert lines[row + 1].strip() == "source: a <b>friend</b>"


def test_a_terminals_table_keeps_to_its_width(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setenv("TERM", "xterm-256color")
    judged = judged_claims(load_sweep(made / "tiny.yaml"), made / "runs")
    assert judged is not None
    terminal = Terminal()
    print_claims([judged], terminal)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert plain != terminal.getvalue()
    assert all(len(line) <= 72 for line in plain.splitlines())
    assert {line.split()[0] for line in plain.splitlines() if line[:1].isalpha()} == {
        *("claims", "verdict", "holds", "fails")
    }


def test_without_runs_only_what_is_computed_is_decided(ddpmx: Run, tmp_path: Path) -> None:
    file = spec(tmp_path)
    found = verdicts(ddpmx("claims", file, "--out", tmp_path / "none", "--json"))
    assert [each["verdict"] for each in found] == ["undecided"] * 3 + ["holds"]
    assert found[0]["value"] is None
    assert "3 of 3 seeds each of norm_l1, norm_l2 and norm_huber are not finished" in found[0]["needs"]
    shown = ddpmx("claims", file, "--out", tmp_path / "none").out
    assert f" needs: {found[0]['needs']}\n" in shown


def test_a_run_that_another_sweep_made_counts(ddpmx: Run, tmp_path: Path) -> None:
    grid = load_sweep(spec(tmp_path))
    others = SWEEP.replace("sweep: {seed: [0, 1, 2], ", "sweep: {seed: [2, 5], ")
    other = load_sweep(spec(tmp_path, BASE + others, "other"))
    make_points(grid, tmp_path / "runs", 0, 1)
    keep_claims(grid, tmp_path / "runs" / "tiny")
    before = verdicts(ddpmx("claims", tmp_path / "runs", "--json"))
    assert [each["seeds"] for each in before] == [2, 2, 2, 0]
    make_points(other, tmp_path / "runs")  # its seed 5 does not count
    after = verdicts(ddpmx("claims", tmp_path / "runs" / "tiny", "--json"))
    assert [each["seeds"] for each in after] == [3, 3, 3, 0]
    assert after == verdicts(ddpmx("claims", tmp_path / "tiny.yaml", "--out", tmp_path / "runs", "--json"))


def test_the_newest_finished_run_of_a_seed_counts(tmp_path: Path) -> None:
    grid = load_sweep(spec(tmp_path))
    make_points(grid, tmp_path / "runs")
    first = judged_claims(grid, tmp_path / "runs")
    point = grid.points[0]
    run_of(point, tmp_path / "runs" / "tiny", {"fd_cnn": score(100.0)}, status="failed")
    assert judged_claims(grid, tmp_path / "runs") == first
    run_of(point, tmp_path / "runs" / "tiny", {"fd_cnn": score(100.0)})
    second = judged_claims(grid, tmp_path / "runs")
    assert first is not None
    assert second is not None
    assert first.verdicts[0].verdict == "holds"
    assert second.verdicts[0].verdict != "holds"


def test_the_claims_of_several_sweeps_are_one_list(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")
    shutil.copytree(made / "runs", tmp_path / "runs" / "again" / "deep")
    other = load_sweep(spec(tmp_path, BASE + SWEEP + CLAIMS, "other"))
    keep_claims(other, tmp_path / "runs" / "other")
    found = verdicts(ddpmx("claims", tmp_path / "runs", "--json"))
    assert [each["sweep"] for each in found] == ["other"] * 4 + ["tiny"] * 4
    assert found[:4] != found[4:]
    assert [{**each, "sweep": ""} for each in found[:3]] == [{**each, "sweep": ""} for each in found[4:7]]


def test_the_file_says_what_the_spec_does(tmp_path: Path) -> None:
    grid = load_sweep(spec(tmp_path))
    folder = tmp_path / "runs" / "tiny"
    keep_claims(grid, folder)
    written = (folder / recorded.NAME).read_bytes()
    assert recorded.read(folder / recorded.NAME) == claimed(grid)
    assert load_sweep(spec(tmp_path)).claims == grid.claims
    keep_claims(grid, folder)
    assert (folder / recorded.NAME).read_bytes() == written
    keep_claims(load_sweep(spec(tmp_path, BASE + SWEEP + "claims: null\n")), folder)
    assert not (folder / recorded.NAME).exists()


def test_the_command_of_one_point_leaves_the_seeds_of_its_sweep(tmp_path: Path) -> None:
    file, folder = spec(tmp_path), tmp_path / "runs" / "tiny"
    keep_claims_of_part(load_sweep(file), folder)
    written = (folder / recorded.NAME).read_text()
    keep_claims_of_part(load_sweep(file, ["sweep.seed=[7]"]), folder)
    assert (folder / recorded.NAME).read_text() == written
    keep_claims_of_part(load_sweep(file, ["sweep.seed=[0, 1, 2, 3]"]), folder)
    assert recorded.read(folder / recorded.NAME).points["norm_l1"].seeds == (0, 1, 2, 3)
    (folder / recorded.NAME).write_text("claims: [")
    keep_claims_of_part(load_sweep(file), folder)
    assert (folder / recorded.NAME).read_text() == written


@pytest.mark.parametrize(
    ("old", "new", "line", "wanted"),
    [
        ("  norm_l2:\n", "  norm_l3:\n", 4, "norm_l2' is not the label of a point"),
        ("test: best", "test: bets", 3, "did you mean 'best'?"),
        ("seeds: [0, 1, 2]", "seeds: all", 0, "points.norm_l1.seeds: should be a list"),
        (
            "measures: [val_loss, fd_cnn]",
            "measures: [val_loss]",
            3,
            "'fd_cnn' is not a measure of all points",
        ),
        ("points:", "point:", 0, "did you mean 'points'?"),
        ("measures: [", "measures: {", 0, "not valid YAML"),
        ("# Written", "- Written", 2, "not valid YAML"),
    ],
)
def test_a_damaged_file_is_reported_with_its_line(
    ddpmx: Run, made: Path, tmp_path: Path, old: str, new: str, line: int, wanted: str
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    content = (made / "runs" / "tiny" / recorded.NAME).read_text()
    assert old in content
    (folder / recorded.NAME).write_text(content.replace(old, new))
    result = ddpmx("claims", folder)
    assert result.code == 2
    assert f"{folder / recorded.NAME}:{line or ''}" in result.err
    assert wanted in result.err


def test_claims_need_a_sweep_and_its_points(ddpmx: Run, tmp_path: Path) -> None:
    single = spec(tmp_path, BASE + CLAIMS)
    for command in ("run", "validate", "show"):
        result = ddpmx(command, single)
        assert result.code == 2
        assert f"{single}:{1 + BASE.count(chr(10))}: claims: " in result.err
        assert "there is no `sweep:` block" in result.err
    assert load(single, ["claims=null"]).name == "tiny"
    typo = spec(tmp_path, BASE + SWEEP + CLAIMS.replace("point: norm_l1}", "point: norm_l}", 1))
    result = ddpmx("claims", typo)
    assert result.code == 2
    assert f"{typo}:{3 + (BASE + SWEEP).count(chr(10)) - 1}: claims.0.point: " in result.err
    assert "did you mean 'norm_l" in result.err
    assert load_sweep(typo, ["claims.0.point=norm_l1"]).claims[0].says == "l1 is the best"
    with pytest.raises(SpecError, match="`ddpmx sweep`|use `ddpmx sweep`"):
        load(typo)


def test_a_sweeps_claims_are_replaced_whole_by_those_of_a_spec_that_extends_it(tmp_path: Path) -> None:
    spec(tmp_path)
    (tmp_path / "more.yaml").write_text(
        "extends: tiny.yaml\nclaims:\n- {says: a, source: b, test: unstable, point: norm_l1}\n"
    )
    grid = load_sweep(tmp_path / "more.yaml")
    assert [claim.test for claim in grid.claims] == ["unstable"]
    assert all("claims" not in point.resolved() for point in grid.points)


def test_what_the_command_refuses(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    no_claims = spec(tmp_path, BASE + SWEEP)
    refused = {
        (tmp_path / "gone.yaml",): "gone.yaml cannot be read",
        (tmp_path / "empty",): "has no claims",
        (no_claims,): "the sweep has no claims",
        (made / "runs", "-s", "seed=3"): "-s: is for a spec",
        (made / "runs", "--out", tmp_path): "--out: is for a spec",
    }
    for arguments, message in refused.items():
        result = ddpmx("claims", *arguments)
        assert (result.code, message in result.err) == (2, True), result.err


def test_the_page_of_compare_shows_claims(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert ddpmx("compare", made / "runs", "--html", page).code == 0
    html = page.read_text()
    section = html[html.index("<h2>Claims</h2>") : html.index("<h2>Results</h2>")]
    assert "3 hold and 1 fails." in section
    assert section.count('<td class="verdict holds">') == 3
    assert section.count('<td class="verdict fails">') == 1
    assert (
        '<a href="https://arxiv.org/abs/1234.56789" rel="noreferrer">arXiv:1234.56789</a>, table 1' in section
    )
    assert 'see <a href="https://a.page/b?c=1" rel="noreferrer">https://a.page/b?c=1</a>.' in section
    assert "a &lt;b&gt;friend&lt;/b&gt;" in section
    assert section.count('<svg class="bar"') == 3
    point = next(path.parent for path in (made / "runs").rglob("spec.yaml"))
    assert tables_of([point]) == []


def test_a_sweep_keeps_its_claims_and_ends_with_them(ddpmx: Run, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "tiny" / recorded.NAME).unlink()
    result = ddpmx("sweep", made / "tiny.yaml", "--out", tmp_path / "runs", "--allow-changed-data")
    assert result.code == 0, result.err
    ending = result.out[result.out.index("claims of tiny: ") :]
    assert ending == ddpmx("claims", tmp_path / "runs").out
    assert (tmp_path / "runs" / "tiny" / recorded.NAME).exists()
    assert "<h2>Claims</h2>" in (tmp_path / "runs" / "tiny" / "compare.html").read_text()
    assert not RunFolder(next((tmp_path / "runs").rglob("spec.yaml")).parent).spec_data().get("claims")


@pytest.mark.slow
def test_the_command_of_a_point_writes_the_claims_of_its_sweep(ddpmx: Run, tmp_path: Path) -> None:
    file = spec(tmp_path, BASE.replace("fd_cnn", "pixel_fd") + SWEEP + CLAIMS.replace("fd_cnn", "pixel_fd"))
    out = tmp_path / "runs"
    assert ddpmx("run", file, "--point", "tiny-seed_0-norm_l1", "--out", out).code == 0
    assert recorded.read(out / "tiny" / recorded.NAME) == claimed(load_sweep(file))
    found = verdicts(ddpmx("claims", out, "--json"))
    assert [each["verdict"] for each in found] == ["undecided"] * 3 + ["holds"]
    assert "2 of 3 seeds of norm_l1 are not finished" in found[0]["needs"]
