"""Running sweeps: which points are repeated, how many run at once, stopping, failures, and both engines."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Result

from ddpmx.process.stop import StopSignal
from ddpmx.runs.resume import finished_runs, locked, unfinished_run, wait_until_free
from ddpmx.spec.loading import load
from ddpmx.spec.schema import Spec
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.local import Job, LocalEngine, divide_cores, slots
from ddpmx.sweeps.runner import _run_all
from ddpmx.terminal.console import Bar

Run = Callable[..., Result]


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("cores", [1, 2, 7, 64])
@pytest.mark.parametrize("points", [1, 3, 12])
@pytest.mark.parametrize("jobs", [None, 1, 5])
@pytest.mark.parametrize("setting", ["", "1", "4"])
def test_points_share_the_cores(
    cores: int, points: int, jobs: int | None, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    threads, at_once = divide_cores(cores, points, jobs)
    assert 1 <= at_once <= points
    assert threads == int(setting) if setting else threads >= 1
    if jobs is None:
        assert threads * at_once <= cores or at_once == 1  # no core has two threads
        assert at_once == points or (at_once + 1) * threads > cores  # and no further point fits
    else:
        assert at_once == min(jobs, points)


def test_one_process_per_visible_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    visible = "CUDA_VISIBLE_DEVICES"
    assert slots(9, None, None) == [{visible: "0"}, {visible: "1"}, {visible: "2"}]
    assert slots(2, None, None) == [{visible: "0"}, {visible: "1"}]
    monkeypatch.setenv(visible, "5,MIG-a")
    assert slots(9, 3, None) == [{visible: "5"}, {visible: "MIG-a"}, {visible: "5"}]
    assert all("OMP_NUM_THREADS" in slot for slot in slots(9, None, "cpu"))


def run_all(
    folder: Path, scripts: list[str], room: int, before: Callable[[], None] | None = None
) -> dict[str, str]:
    """The statuses of shell scripts that run as jobs."""
    jobs = [
        Job(f"job{index}", ("sh", "-c", script), folder / f"job{index}.log")
        for index, script in enumerate(scripts)
    ]
    result = {job.name: "not started" for job in jobs}
    with (
        LocalEngine([{"SLOT": str(index)} for index in range(room)]) as engine,
        StopSignal() as stop,
        Bar() as bar,
    ):
        if before:
            threading.Thread(target=before, daemon=True).start()
        _run_all(jobs, engine, stop, bar, result)
    return result


def test_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    failing = (
        "echo noise; echo 'failed: diverged at step 3' >&2; "
        "echo 'failed at step 3; no checkpoint' >&2; exit 1"
    )
    result = run_all(
        tmp_path,
        ["exit 0", failing, "echo 'error: f.yaml:3: bad'; exit 2", "kill -9 $$", "exit 7", "exit 0"],
        room=2,
    )
    assert list(result.values()) == [
        "finished",
        "failed: diverged at step 3",
        "failed: error: f.yaml:3: bad",
        "failed: killed by SIGKILL",
        "failed: exit code 7",
        "finished",
    ]


def test_there_are_never_more_at_once_than_slots_and_each_has_its_own(tmp_path: Path) -> None:
    log = tmp_path / "order"
    run_all(tmp_path, [f"echo + $SLOT >> {log}; sleep 0.2; echo - $SLOT >> {log}"] * 5, room=2)
    busy: set[str] = set()
    for line in log.read_text().splitlines():
        sign, slot = line.split()
        assert (slot in busy) == (sign == "-")
        busy ^= {slot}
    assert log.read_text().count("+") == 5


def test_ctrl_c_lets_the_running_ones_save_and_starts_no_more(tmp_path: Path) -> None:
    saving = (
        f"trap 'echo saved >> {tmp_path}/saved; exit 130' TERM; "
        f"touch {tmp_path}/$SLOT; while true; do sleep 0.05; done"
    )

    def interrupt() -> None:
        wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
        os.kill(os.getpid(), signal.SIGINT)

    result = run_all(tmp_path, [saving] * 4, room=2, before=interrupt)
    assert list(result.values()) == ["interrupted", "interrupted", "not started", "not started"]
    assert (tmp_path / "saved").read_text() == "saved\nsaved\n"


def test_an_exception_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalEngine([{}]) as engine:  # noqa: PT012
        engine.start(Job("a", ("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"), tmp_path / "a.log"))
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        _ = 1 / 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


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


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ddpmx", "sweep", "tiny.yaml", *arguments]


def statuses(folder: Path) -> dict[str, list[str]]:
    return {
        point.name: [
            json.loads((run / "status.json").read_text())["status"] for run in sorted(point.glob("*/"))
        ]
        for point in sorted(folder.glob("runs/tiny/*/"))
    }


def losses(run: Path) -> list[Any]:
    return [event["loss"] for event in RunFolder(run).events() if event["event"] == "step"]


@pytest.mark.slow
def test_interrupted_and_killed_points_are_resumed_and_others_left_alone(
    ddpmx: Run, tiny: Path, tmp_path: Path
) -> None:
    """SIGKILL ends seed 0 while the sweep runs; SIGINT stops the sweep during seed 1; then it starts again."""
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")

    def step(seed: int) -> bool:
        return any(
            '"step": 20' in file.read_text()
            for file in tmp_path.glob(f"runs/tiny/tiny-seed_{seed}/*/metrics.jsonl")
        )

    process = subprocess.Popen(
        command("--jobs", "1"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: step(0))
    (killed,) = tmp_path.glob("runs/tiny/tiny-seed_0/*/")
    os.kill(json.loads((killed / "status.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: step(1))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "tiny-seed_0: failed: killed by SIGKILL" in err
    assert "0 of 2 points are finished" in err
    assert "tiny-seed_1  interrupted" in out
    assert statuses(tmp_path) == {"tiny-seed_0": ["running"], "tiny-seed_1": ["interrupted"]}
    again = subprocess.run(command(), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    straight = ddpmx("run", tiny, "--point", "tiny-seed_1", "--out", tmp_path / "straight")
    assert straight.code == 0
    runs = [next((tmp_path / out).glob("tiny/tiny-seed_1/*/")) for out in ("runs", "straight")]
    assert losses(runs[0]) == losses(runs[1])
    logs = {log: log.read_text() for log in tmp_path.glob("runs/tiny/*.log")}
    assert subprocess.run(command(), cwd=tmp_path, capture_output=True, timeout=600, check=True).stderr == b""
    assert logs == {log: log.read_text() for log in tmp_path.glob("runs/tiny/*.log")}


@pytest.mark.slow
def test_a_point_that_fails_is_tried_again_and_the_others_run(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(
        TINY
        + "sweep: {points: [{name: wild, train: {lr: 1e6, grad_clip: null}, loss.norm: l2}, {name: tame}]}\n"
    )
    for others in ("finished", "finished before"):
        done = subprocess.run(
            command("--jobs", "1"), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 1, done.stderr
        assert "1 of 2 points failed" in done.stderr
        assert "tiny-wild: failed: diverged at step" in done.stderr
        assert f"tiny-tame  {others}" in done.stdout
        assert statuses(tmp_path) == {"tiny-tame": ["finished"], "tiny-wild": ["failed"]}


@pytest.mark.slow
def test_ray_runs_stops_and_resumes(tiny: Path, tmp_path: Path) -> None:
    """On a cluster that ray.init() starts on this machine."""
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")
    arguments = command("--engine", "ray")
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(
        lambda: any('"step": 20' in file.read_text() for file in tmp_path.glob("runs/tiny/*/*/metrics.jsonl"))
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "interrupted" in [status for runs in statuses(tmp_path).values() for status in runs]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    assert {
        spec["seed"] for spec in (RunFolder(path).resolved() for path in tmp_path.glob("runs/tiny/*/*/"))
    } == {0, 1}


def test_a_job_knows_which_process_it_must_not_outlive(tmp_path: Path) -> None:
    run_all(tmp_path, ["echo $DDPMX_PARENT"], room=1)
    assert (tmp_path / "job0.log").read_text().splitlines()[-1] == str(os.getpid())


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


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_points_of_a_sweep_that_dies_stop_and_are_resumed(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    tiny.write_text(TINY.replace("steps: 12", "steps: 120") + "sweep: {seed: [0, 1]}\n")
    process = subprocess.Popen(
        command("--jobs", "2"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(
        lambda: (
            sum('"step": 20' in file.read_text() for file in tmp_path.glob("runs/tiny/*/*/metrics.jsonl"))
            == 2
        )
    )
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    # Started at once, while the old points may still be saving
    again = subprocess.run(
        command("--jobs", "2"), cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert again.returncode == 0, again.stderr
    assert statuses(tmp_path) == {"tiny-seed_0": ["finished"], "tiny-seed_1": ["finished"]}
    for run in tmp_path.glob("runs/tiny/*/*/"):
        steps = [event["step"] for event in RunFolder(run).events() if event["event"] == "step"]
        assert steps == list(range(10, 121, 10))
