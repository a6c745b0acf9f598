"""Everyday commands: components and runs by name, a baseline by its label, samples that overwrite nothing."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result, only_run
from made_runs import make_run, score

from ddpmx.comparison.comparison import compare
from ddpmx.components.registry import REGISTRIES
from ddpmx.errors import SpecError
from ddpmx.storage.newest import newest_run

Run = Callable[..., Result]


def kinds_of(name: str) -> set[str]:
    return {kind for kind, registry in REGISTRIES.items() if registry.has(name)}


@pytest.mark.parametrize("name", ["heun", "edm", "sigmoid", "velocity", "fd_cnn", "noise"])
def test_a_component_is_found_by_its_name_whatever_its_kind(ddpmx: Run, name: str) -> None:
    result = ddpmx("list", name)
    assert result.code == 0
    blocks = [block.split(" ", 1) for block in result.out.split("\n\n")]
    assert {kind for kind, _ in blocks} == kinds_of(name)
    assert {component["kind"] for component in json.loads(ddpmx("list", name, "--json").out)} == kinds_of(
        name
    )


@pytest.mark.parametrize("kind", ["sampler", "samplers", "SAMPLERS", "Sampler"])
def test_a_kind_may_be_written_as_in_python(ddpmx: Run, kind: str) -> None:
    assert ddpmx("list", kind, "heun").out == ddpmx("list", "sampler", "heun").out
    assert ddpmx("list", kind).out.startswith("sampler\n  ddim ")


@pytest.mark.parametrize(
    ("arguments", "hint"), [(("huen",), "heun"), (("smaplers",), "sampler"), (("samplers", "huen"), "heun")]
)
def test_a_wrong_name_is_exit_2_with_the_nearest(ddpmx: Run, arguments: tuple[str, ...], hint: str) -> None:
    result = ddpmx("list", *arguments)
    assert (result.code, result.out) == (2, "")
    assert f"did you mean '{hint}" in result.err


def made(folder: Path, old: bool = False) -> Path:
    """A folder that looks like a run, of now or of 1970."""
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(TINY)
    if old:
        os.utime(folder / "spec.yaml", (0, 0))
    return folder


def test_a_name_means_its_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ids = ["20260101-120000", "20260101-120000-2", "20260101-120000-10", "20251231-235959"]
    for id in ids:
        made(Path("runs/tiny") / id)
    newest = Path("runs/tiny/20260101-120000-10")
    assert newest_run(Path("tiny")) == newest
    assert newest_run(Path("runs/tiny")) == newest
    assert newest_run(tmp_path / "runs/tiny") == tmp_path / newest
    assert newest_run(Path("runs/tiny/20251231-235959")) == Path("runs/tiny/20251231-235959")
    made(Path("elsewhere/renamed"), old=True)
    latest = made(Path("elsewhere/20260202-000000"))
    assert newest_run(Path("elsewhere")) == latest
    for nowhere in (Path("not/there"), Path("x" * 5000)):
        assert newest_run(nowhere) == nowhere


def test_a_sweeps_points_have_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for point in ("grid-l1", "grid-l2"):
        made(Path("runs/grid") / point / "20260101-120000")
    assert newest_run(Path("grid-l2")) == Path("runs/grid/grid-l2/20260101-120000")
    assert newest_run(Path("grid/grid-l1")) == Path("runs/grid/grid-l1/20260101-120000")
    for name in ("grid", "runs/grid"):
        with pytest.raises(SpecError, match="holds the runs of several names") as error:
            newest_run(Path(name))
        assert "grid-l1, grid-l2" in error.value.hint
    with pytest.raises(SpecError, match="no run 'grod'") as error:
        newest_run(Path("grod"))
    assert error.value.hint == "did you mean 'grid'?"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains a tiny finished run."""
    from ddpmx.runs.run import run
    from ddpmx.spec import loading as spec_file
    from ddpmx.training.experiment import choose_device

    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny.yaml").write_text(TINY)
    spec = spec_file.load(folder / "tiny.yaml", ["evaluate.metrics=[pixel_fd]"])
    run(spec, out=folder / "runs", device=choose_device("cpu"))
    return folder


def test_every_command_that_takes_a_run_takes_its_name(
    ddpmx: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    run = only_run(Path("runs"))
    for arguments in (
        ("sample", "tiny", "-n", 2),
        ("evaluate", "runs/tiny", "-n", 8, "--json"),
        ("export", "tiny", "exported", "--to", "diffusers"),
        ("track", "tiny", "--to", "jsonl", "-s", "path=copy.jsonl"),
        ("run", run / "spec.yaml", "--resume", "--run", "tiny"),
        ("compare", run, "--baseline", "tiny"),
    ):
        result = ddpmx(*arguments)
        # not every network has a counterpart in diffusers, so export may refuse
        assert result.code == 0 or "exported" in arguments, result.err
        if arguments[0] != "compare":
            assert f"run: {run}\n" in result.err
    assert json.loads(ddpmx("evaluate", run, "-n", 8, "--json").out)["event"] == "evaluate"
    assert "run: " not in ddpmx("sample", run, "-n", 2).err
    result = ddpmx("sample", "tony")
    assert result.code == 2
    assert "did you mean 'tiny'?" in result.err


def test_samples_of_other_settings_are_kept(ddpmx: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Different settings are written to different files, and the same settings to the same file."""
    monkeypatch.chdir(place)
    picture = only_run(Path("runs")) / "samples" / "final.png"
    settings = [
        ("-n", 2),
        ("-n", 3),
        ("-n", 2, "--seed", 5),
        ("-n", 2, "--steps", 3, "--sampler", "ddim"),
        ("-n", 2, "--steps", 3, "--sampler", "ddim", "-s", "sampler.eta=0.5"),
        ("-n", 2, "--steps", 3, "--sampler", "ddim", "-s", "sampler.eta=0.25"),
        ("-n", 2, "--weights", "last"),
        ("-n", 2, "--image", picture),
        ("-n", 2, "--image", picture, "--strength", 0.3),
        ("-n", 2, "--image", picture, "--mask", picture),
        ("-n", 2, "--image", picture, "--mask", picture, "--resample", 2),
        ("-n", 2, "--to-seed", 4),
    ]
    files = [ddpmx("sample", "tiny", *options).out.strip() for options in settings]
    assert all(Path(file).is_file() for file in files)
    assert len(set(files)) == len(files)
    contents = [Path(file).read_bytes() for file in files]
    assert [ddpmx("sample", "tiny", *options).out.strip() for options in settings] == files
    assert [Path(file).read_bytes() for file in files] == contents
    assert "ddim-3-seed0-n2.png" in files[3]
    assert "strength0.3" in files[8]
    Path(files[0]).write_bytes(b"not a picture")  # a file of the user's own
    again = ddpmx("sample", "tiny", *settings[0]).out.strip()
    assert again != files[0]
    assert Path(files[0]).read_bytes() == b"not a picture"


def two_runs(folder: Path) -> list[Path]:
    return [
        make_run(folder, f"name={name}", f"loss.norm={norm}", scores={"fd_cnn": score(value)})
        for name, norm, value in (("grid-l1", "l1", 4.0), ("grid-l2", "l2", 6.0))
    ]


@pytest.mark.parametrize("baseline", ["l2", "grid-l2", "path", "folder"])
def test_a_baseline_may_be_a_label(tmp_path: Path, ddpmx: Run, baseline: str) -> None:
    paths = two_runs(tmp_path)
    named = {"path": str(paths[1]), "folder": str(paths[1].parent)}.get(baseline, baseline)
    result = ddpmx("compare", *paths, "--json", "--baseline", named)
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert data["baseline"] == "l2"
    assert [group["measures"]["fd_cnn"]["delta"] for group in data["groups"]] == [-2.0, None]


def test_every_output_has_the_same_baseline(tmp_path: Path, ddpmx: Run) -> None:
    """Even if the first run is not the best, or the groups are sorted."""
    paths = two_runs(tmp_path)
    result = ddpmx(
        "compare",
        *paths,
        "--sort",
        "name",
        "--baseline",
        "l2",
        "--csv",
        tmp_path / "a.csv",
        "--html",
        tmp_path / "a.html",
    )
    rows = [line for line in result.out.splitlines() if line.startswith(("l1", "l2"))]
    assert ["baseline" in row for row in rows] == [False, True]
    with (tmp_path / "a.csv").open() as file:
        assert [(row["run"], row["baseline"]) for row in csv.DictReader(file)] == [
            ("l1", "no"),
            ("l2", "yes"),
        ]
    assert "values differ from the baseline, l2" in (tmp_path / "a.html").read_text()


def test_the_baseline_of_a_folder_is_its_first_finished_run(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "name=a", status="failed")
    make_run(tmp_path / "runs", "name=b", "loss.norm=l1")
    make_run(tmp_path / "runs", "name=c", "loss.norm=huber")
    assert compare([tmp_path / "runs"]).baseline.label == "b"
    assert compare([tmp_path / "runs" / "a", tmp_path / "runs"]).baseline.label == "a"  # as given


def test_an_unknown_baseline_is_exit_2(tmp_path: Path, ddpmx: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = ddpmx("compare", *two_runs(tmp_path / "made"), "--baseline", "l3")
    assert (result.code, result.out) == (2, "")
    assert "--baseline" in result.err
    assert "l1, l2" in result.err
    assert ddpmx("compare", *two_runs(tmp_path / "made"), "--baseline", "l" * 5000).code == 2
