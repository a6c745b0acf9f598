"""Several runs in a folder: one that cannot be read is reported by name and does not affect the others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from made_runs import make_run

from ddpmx.errors import SpecError
from ddpmx.runs.known_runs import finished_runs, unfinished_run
from ddpmx.runs.resume import find_previous
from ddpmx.spec.loading import load
from ddpmx.terminal.console import warn

Run = Callable[..., Result]


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "spec.yaml").read_text()
    assert old in text
    (run / "spec.yaml").write_text(text.replace(old, new))


def link_out(run: Path) -> None:
    (run / "samples" / "out.png").symlink_to("/etc/hostname")


def folder_for_file(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


BAD: dict[str, Callable[[Path], object]] = {
    "an empty spec": lambda run: (run / "spec.yaml").write_text(""),
    "another program's spec": lambda run: (run / "spec.yaml").write_text("apiVersion: v1\nkind: List\n"),
    "a spec that is no run's": lambda run: (run / "spec.yaml").write_text(TINY),
    "not UTF-8": lambda run: (run / "spec.yaml").write_bytes(b"\xff\xfe"),
    "a list": lambda run: (run / "spec.yaml").write_text("- 1\n"),
    "a text for a number": lambda run: edit(run, "seed: 0\ndataset", "seed: x\ndataset"),
    "a plugin that is gone": lambda run: edit(run, "plugins: []", "plugins: [plugins/gone.py]"),
    "a link out of it": link_out,
    "a folder instead of a file": folder_for_file,
}


@pytest.mark.parametrize("break_it", BAD.values(), ids=BAD.keys())
def test_a_bad_neighbour_is_skipped_by_name(
    ddpmx: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Callable[[Path], object]
) -> None:
    done = make_run(tmp_path)
    open_ = make_run(tmp_path, status="interrupted")
    bad = make_run(tmp_path)  # the newest, so that it is read first
    for age, run in enumerate((bad, open_, done)):
        os.utime(run / "spec.yaml", (10_000 - age, 10_000 - age))
    break_it(bad)
    spec = load(tmp_path / "tiny.yaml")
    searches: dict[str, Callable[[], object]] = {
        "resume": lambda: find_previous(spec, tmp_path, None),
        "a point": lambda: unfinished_run(spec, tmp_path),
        "a sweep": lambda: finished_runs([spec], tmp_path)["tiny"],
    }
    wanted = {"resume": {open_, done}, "a point": {open_}, "a sweep": {done}}
    for what, find in searches.items():
        (bad / "status.json").write_text(
            json.dumps({"status": "finished" if what == "a sweep" else "interrupted"})
        )
        warn.cache_clear()
        capsys.readouterr()
        assert find() in wanted[what], what
        said = capsys.readouterr().err
        assert f"the run {bad} is skipped: " in said, what
        assert len(said.splitlines()) == 1
    result = ddpmx("compare", tmp_path, "--json")
    assert result.code == 0, result.err
    assert f"the run {bad} is skipped: " in result.err
    assert {run["path"] for group in json.loads(result.out)["groups"] for run in group["runs"]} == {
        str(done),
        str(open_),
    }
    named = ddpmx("compare", done, bad)
    assert named.code == 2
    assert str(bad) in named.err
    with pytest.raises(SpecError, match=bad.name):
        find_previous(spec, tmp_path, bad)


def test_a_folder_with_only_bad_runs_is_an_error(ddpmx: Run, tmp_path: Path) -> None:
    for run in (make_run(tmp_path), make_run(tmp_path)):
        (run / "spec.yaml").write_text("")
    result = ddpmx("compare", tmp_path)
    assert result.code == 2
    assert "no run can be read" in result.err


def test_a_sweep_skips_a_foreign_folder(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    foreign = out / "tiny" / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "spec.yaml").write_text("")
    (foreign / "status.json").write_text('{"status": "finished"}')
    nowhere = out / "tiny" / "nowhere"
    nowhere.mkdir()
    (nowhere / "spec.yaml").symlink_to("gone")
    done = make_run(out, "name=tiny-seed_0")
    (done / "environment.json").unlink()  # it records made-up data
    tiny.write_text(TINY + "sweep: {seed: [0]}\n")
    result = ddpmx("sweep", tiny, "--out", out)
    assert result.code == 0, result.err
    assert f"the run {foreign} is skipped: " in result.err
    assert str(done) in result.out
    shutil.rmtree(foreign)
    assert "is skipped" not in ddpmx("sweep", tiny, "--out", out).err
