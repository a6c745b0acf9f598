"""Running sweeps: which points are repeated or resumed, printed commands, and refused arguments."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result

from ddpmx.runs.known_runs import finished_runs, unfinished_run
from ddpmx.runs.resume import locked, wait_until_free
from ddpmx.spec.loading import load
from ddpmx.spec.schema import Spec
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]


def stored(out: Path, spec: Spec, status: str) -> Path:
    folder = RunFolder.create(out, spec)
    folder.set_status(status)
    return folder.path


def test_a_finished_run_is_known_by_what_it_computed(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    run = stored(out / "a sweep", load(tiny, ["name=earlier", "track=[tensorboard]"]), "finished")
    same, other = load(tiny), load(tiny, ["name=other", "train.steps=11"])
    assert finished_runs([same, other], out) == {"tiny": run}
    single = stored(out, other, "finished")
    assert finished_runs([same, other], out) == {"tiny": run, "other": single}
    for status in ("running", "interrupted", "failed"):
        stored(out, load(tiny, [f"name={status}", "seed=5"]), status)
    assert finished_runs([load(tiny, ["seed=5"])], out) == {}


def test_an_unfinished_run_is_resumed_only_for_the_very_same_spec(tiny: Path, tmp_path: Path) -> None:
    spec = load(tiny)
    assert unfinished_run(spec, tmp_path) is None
    run = stored(tmp_path, spec, "interrupted")
    # `run --resume` may resume it for another budget; as a point it is another one.
    stored(tmp_path, load(tiny, ["train.steps=13"]), "interrupted")
    stored(tmp_path, spec, "finished")
    assert unfinished_run(spec, tmp_path) == run


def test_a_plugin_that_changed_makes_another_run(tiny: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("x = 1\n")
    tiny.write_text(TINY + "plugins: [plugin.py]\n")
    stored(tmp_path / "runs", load(tiny), "finished")
    assert list(finished_runs([load(tiny)], tmp_path / "runs")) == ["tiny"]
    plugin.write_text("x = 2\n")
    assert finished_runs([load(tiny)], tmp_path / "runs") == {}


@pytest.fixture
def seeds(tiny: Path) -> Path:
    tiny.write_text(TINY.replace("steps: 12", "steps: 2") + "sweep: {seed: [0, 1]}\n")
    return tiny


def test_print_gives_one_command_per_point_and_nothing_else(ddpmx: Run, seeds: Path, tmp_path: Path) -> None:
    result = ddpmx(
        "sweep",
        seeds,
        "--print",
        "-s",
        "loss.weighting={name: constant}",
        "--out",
        tmp_path / "a b",
        "--device",
        "cpu",
    )
    assert result.code == 0
    assert result.err == ""
    commands = [shlex.split(line) for line in result.out.splitlines()]
    assert [command[command.index("--point") + 1] for command in commands] == ["tiny-seed_0", "tiny-seed_1"]
    for command in commands:
        assert command[:5] == [sys.executable, "-m", "ddpmx", "run", str(seeds)]
        assert command[7:] == [
            "-s",
            "loss.weighting={name: constant}",
            "--out",
            str(tmp_path / "a b"),
            "--device",
            "cpu",
        ]
    assert not (tmp_path / "a b").exists()


def test_a_sweep_runs_what_is_missing_by_the_commands_that_it_prints(
    ddpmx: Run, seeds: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    printed = ddpmx("sweep", seeds, "--print", "--out", out).out.splitlines()
    first = ddpmx(*shlex.split(printed[0])[3:])
    assert first.code == 0, first.err
    (run,) = out.glob("tiny/tiny-seed_0/*/")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    again = ddpmx(*shlex.split(printed[0])[3:])
    assert (again.code, again.out) == (0, first.out)
    result = ddpmx("sweep", seeds, "--out", out)
    assert result.code == 0, result.err
    page = out / "tiny" / "compare.html"
    *table, compared = result.out.splitlines()
    assert [line.split()[0] for line in table] == ["point", "tiny-seed_0", "tiny-seed_1"]
    assert [line.split()[-1] for line in table[1:]] == [
        str(next(out.glob(f"tiny/tiny-seed_{k}/*/"))) for k in (0, 1)
    ]
    assert compared == f"compared: {page}"
    assert all(f"tiny-seed_{k}" in page.read_text() for k in (0, 1))
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    assert not (out / "tiny" / "tiny-seed_0.log").exists()
    assert (out / "tiny" / "tiny-seed_1.log").read_text().startswith(f"$ {printed[1]}\n")
    made = [json.loads((path / "status.json").read_text()) for path in sorted(out.glob("tiny/*/*/"))]
    assert [(status["status"], status["step"]) for status in made] == [("finished", 2)] * 2
    specs = [RunFolder(path).resolved() for path in sorted(out.glob("tiny/*/*/"))]
    assert [(spec["name"], spec["seed"]) for spec in specs] == [("tiny-seed_0", 0), ("tiny-seed_1", 1)]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--out", "{tmp}/tiny.yaml"), ["tiny.yaml/tiny", "--out"]),
        (("--engine", "ray"), ["--engine ray", "pip install 'ddpmx[ray]'"]),
        (("-s", "sweep.sed=[1]"), ["sweep.sed", "did you mean 'seed'"]),
        (("-s", "sweep=null"), ["no `sweep:` block", "ddpmx run"]),
        (("-s", "sweep.sampler=[{name: ddim, steps: 9999}]"), ["sampler.steps", "-s sweep.sampler"]),
        (("--device", "abacus"), ["--device", "abacus"]),
    ],
)
def test_a_sweep_that_cannot_start_is_refused(
    ddpmx: Run,
    seeds: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    wanted: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = ("--out", str(tmp_path / "runs")) if "--out" not in arguments else ()
    result = ddpmx(
        "sweep", seeds, *out, *(text.format(tmp=tmp_path) if "{tmp}" in text else text for text in arguments)
    )
    assert result.code == 2, result.err
    for text in wanted:
        assert text in result.err
    assert "Traceback" not in result.err
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_point_that_is_not_there(ddpmx: Run, seeds: Path, tmp_path: Path) -> None:
    result = ddpmx("run", seeds, "--point", "tiny-seed_2", "--out", tmp_path / "runs")
    assert result.code == 2
    assert "--point" in result.err
    assert "did you mean 'tiny-seed_" in result.err


def test_a_point_and_a_run_to_resume_exclude_each_other(ddpmx: Run, seeds: Path, tmp_path: Path) -> None:
    result = ddpmx("run", seeds, "--point", "tiny-seed_1", "--run", tmp_path, "--out", tmp_path / "runs")
    assert result.code == 2
    assert "--run" in result.err


def test_show_shows_a_point(ddpmx: Run, seeds: Path, tmp_path: Path) -> None:
    result = ddpmx("show", seeds, "--point", "tiny-seed_1", "--out", tmp_path / "show.html")
    assert result.code == 0, result.err
    assert "tiny-seed_1" in (tmp_path / "show.html").read_text()


def test_a_run_that_another_process_is_saving_is_waited_for(tiny: Path, tmp_path: Path) -> None:
    run = stored(tmp_path, load(tiny), "running")
    order: list[str] = []

    def save() -> None:
        with locked(run):
            begun.set()
            time.sleep(0.5)
            order.append("saved")

    begun = threading.Event()
    thread = threading.Thread(target=save)
    thread.start()
    begun.wait()
    wait_until_free(run, 0.1)  # gives up after 0.1 s
    order.append("looked")
    wait_until_free(run)
    order.append("free")
    thread.join()
    assert order == ["looked", "saved", "free"]
