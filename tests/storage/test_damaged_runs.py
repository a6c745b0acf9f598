"""Damaged run folders as input: commands read what is intact, name what is not, and lose nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from made_runs import per_t

from ddpmx.pages.report import write_report
from ddpmx.storage.event_log import MAX_LINE, EventLog
from ddpmx.storage.folder import RunFolder
from ddpmx.training.events import parse

Run = Callable[..., Result]
EPOCH = {
    "event": "epoch",
    "epoch": 1,
    "step": 3,
    "train_loss": 1.0,
    "val_loss": 1.0,
    "seconds": 1.0,
    "images_per_second": 1.0,
    "metrics": {},
}
LINES: dict[str, bytes] = {
    "no JSON": b"hello",
    "half of it": b'{"event": "step", "st',
    "a list": b"[1, 2]",
    "a string": b'"event"',
    "null": b"null",
    "no event": b'{"step": 3}',
    "an event that is no text": b'{"event": ["step"], "step": 3}',
    "no step": b'{"event": "step", "loss": 1.0}',
    "a text for a number": b'{"event": "step", "step": "3", "loss": 1.0}',
    "true for a number": b'{"event": "step", "step": true, "loss": 1.0}',
    "a negative step": b'{"event": "step", "step": -3, "loss": 1.0}',
    "a huge integer": b'{"event": "step", "step": 1' + b"0" * 400 + b', "loss": 1.0}',
    "more digits than Python reads": b'{"event": "new", "x": 1' + b"0" * 9000 + b"}",
    "deep": b'{"event": "new", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "half of a surrogate pair": b'{"event": "end", "step": 3, "status": "\\ud800"}',
    "not UTF-8": b'{"event": "end", "step": 3, "status": "\xff"}',
    "UTF-16": '{"event": "step"}'.encode("utf-16"),
    "epoch 0": json.dumps({**EPOCH, "epoch": 0}).encode(),
    "an epoch without a loss": json.dumps(
        {key: value for key, value in EPOCH.items() if key != "val_loss"}
    ).encode(),
    "endless seconds": json.dumps({**EPOCH, "seconds": float("inf")}).encode(),
    "metrics that are a list": json.dumps({**EPOCH, "metrics": [1]}).encode(),
    "a metric that is a text": json.dumps({**EPOCH, "metrics": {"fid": "1"}}).encode(),
    "a metric that rings a bell": json.dumps({**EPOCH, "metrics": {"\a": 1.0}}).encode(),
    "too many metrics": json.dumps({**EPOCH, "metrics": {f"m{i}": 1.0 for i in range(101)}}).encode(),
    "half a score": json.dumps(
        {**EPOCH, "metrics": {"fid": 1.0}, "scores": {"fid": {"value": 1.0}}}
    ).encode(),
    "lists of two lengths": json.dumps({**per_t(1), "n": []}).encode(),
    "longer than a line may be": b'{"event": "new", "x": "' + b"x" * MAX_LINE + b'"}',
}


def write_lines(run: Path, lines: list[bytes]) -> None:
    (run / "metrics.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def lines_of(run: Path) -> list[bytes]:
    return (run / "metrics.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_a_damaged_line_is_skipped_and_reported_with_its_number(
    copied: Path, capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    whole = lines_of(copied)
    before = [*RunFolder(copied).events()]
    assert [parse(line) for line in whole] == before
    write_lines(copied, [*whole[:2], line, *whole[2:]])
    assert [*RunFolder(copied).events()] == before
    said = capsys.readouterr().err
    assert f"{copied}/metrics.jsonl:3 is damaged" in said
    assert len(said.splitlines()) == 1
    assert len(said) < 1000
    assert said.isprintable() or said.rstrip("\n").isprintable()
    RunFolder(copied).cut_after(6, 9)
    ends = [line for line in whole if b'"end"' in line]
    assert lines_of(copied) == [line for line in whole if line not in ends and b"final.png" not in line]
    assert (copied / "metrics.jsonl.damaged").read_bytes() == line + b"\n"


def test_commands_work_on_a_damaged_log_and_count_its_lines(ddpmx: Run, copied: Path, tmp_path: Path) -> None:
    whole = lines_of(copied)
    write_lines(copied, [whole[0], *LINES.values(), *whole[1:]])
    problem = f"{copied}/metrics.jsonl:2 is damaged"
    for arguments in (
        ("compare", copied, "--html", tmp_path / "page.html"),
        ("track", copied, "--to", "jsonl", "-s", f"path={tmp_path / 'all.jsonl'}"),
        ("evaluate", copied, "--metrics", "pixel_fd", "-n", "4"),
        ("export", copied, tmp_path / "exported", "--to", "diffusers"),
    ):
        result = ddpmx(*arguments)
        assert result.code == 0, result.err
        assert result.err.count(problem) == 1, arguments
        assert f"{len(LINES)} damaged lines" in result.err
    assert [json.loads(line)["event"] for line in (tmp_path / "all.jsonl").read_text().splitlines()] == [
        json.loads(line)["event"] for line in whole
    ]
    before = [line for line in whole if b'"end"' not in line and b"final.png" not in line]
    result = ddpmx("run", copied / "spec.yaml", "--run", copied, "-s", "train.epochs=3", "--out", tmp_path)
    assert result.code == 0, result.err
    assert f"{len(LINES)} damaged lines are moved to metrics.jsonl.damaged" in result.err
    assert lines_of(copied)[: len(before)] == before
    assert (copied / "metrics.jsonl.damaged").read_bytes() == b"".join(
        line + b"\n" for line in LINES.values()
    )
    assert "damaged" not in ddpmx("compare", copied).err


def test_what_is_unknown_is_tolerated_and_kept(ddpmx: Run, copied: Path, tmp_path: Path) -> None:
    """Kinds and keys of newer versions and plugins, and changes that editors make to a file."""
    whole = lines_of(copied)
    newer = [
        b'{"event": "newer", "x": {"y": [NaN, "z"]}}',
        b'{"x": 1, "event": "newer", "step": 2}',
        json.dumps({**EPOCH, "later": [1]}).encode(),
    ]
    text = b"\xef\xbb\xbf" + b"\r\n".join([*whole, b"", *newer])  # without a newline at the end
    (copied / "metrics.jsonl").write_bytes(text)
    assert [event["event"] for event in RunFolder(copied).events()] == [
        json.loads(line)["event"] for line in [*whole, *newer]
    ]
    result = ddpmx("track", copied, "--to", "jsonl", "-s", f"path={tmp_path / 'all.jsonl'}")
    assert (result.code, result.err) == (0, "")
    # A tracker needs the step of an event, which one of the newer ones lacks.
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == len(whole) + 2
    RunFolder(copied).add_event({"event": "newer", "last": 1})
    assert json.loads(lines_of(copied)[-2]) == json.loads(newer[-1])
    RunFolder(copied).cut_after(6, 9)
    assert lines_of(copied)[-4:] == [*newer, b'{"event": "newer", "last": 1}']


def test_our_own_events_are_never_damaged(tmp_path: Path) -> None:
    """Numbers that are not finite, and file names that are not UTF-8, which become lone surrogates."""
    log = EventLog(tmp_path / "metrics.jsonl")
    log.add(
        {"event": "step", "step": 1, "loss": float("nan"), "lr": float("inf"), "grad_norm": float("-inf")}
    )
    log.add({"event": "end", "step": 1, "status": "failed", "why": "no file a\udcff.png; 😀"})
    step, end = log.read()
    assert str(step["loss"]) == "nan"
    assert end["why"] == "no file a?.png; 😀"


FILES = ("metrics.jsonl", "status.json", "environment.json", "spec.yaml", "log.csv", "report.html", ".lock")
FOLDERS = ("samples", "checkpoints", "plots")


def put(what: str, path: Path) -> None:
    """Replace a file or folder by something else."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if what == "folder":
        path.mkdir()
    elif what == "file":
        path.write_text("x")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if what == "link to itself" else path.with_name("nothing"))


KINDS = [(name, what) for name in FILES for what in ("folder", "pipe", "link to nothing", "link to itself")]
KINDS += [(name, what) for name in FOLDERS for what in ("file", "pipe", "link to nothing")]


@pytest.mark.parametrize(("name", "what"), KINDS)
def test_something_else_instead_of_a_file_is_named(ddpmx: Run, copied: Path, name: str, what: str) -> None:
    put(what, copied / name)
    for command, *options in (("compare",), ("evaluate",), ("track", "--to", "jsonl"), ("sample",)):
        result = ddpmx(command, copied, *options)
        assert result.code == 2, (command, result.err)
        assert str(copied) in result.err
        assert len(result.err.splitlines()) == 1


RECORDS: dict[str, bytes] = {
    "empty": b"",
    "a list": b"[]",
    "a number": b"3",
    "half": b'{"status": "fin',
    "deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "wrong types": b'{"status": 3, "data": [], "seconds": "x"}',
    "a huge number": b'{"seconds": 1e999, "parameters": -1}',
    "surrogate": b'{"status": "\\ud800", "device": "\\ud800"}',
    "not UTF-8": b'{"status": "\xff"}',
}


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS.keys())
def test_a_damaged_record_is_named_and_stops_nothing(ddpmx: Run, copied: Path, content: bytes) -> None:
    for name in ("status.json", "environment.json"):
        (copied / name).write_bytes(content)
    result = ddpmx("compare", copied, "--json")
    assert result.code == 0, result.err
    assert [line.split()[1] for line in result.err.splitlines()] == [
        str(copied / name) for name in ("status.json", "environment.json")
    ]
    (group,) = json.loads(result.out)["groups"]
    assert group["status"] == "unknown"
    assert group["measures"]["val_loss"]["not_ranked"] == "unknown"


def test_a_resumed_run_replaces_damaged_records(ddpmx: Run, copied: Path) -> None:
    whole = lines_of(copied)
    for name in ("status.json", "environment.json", "log.csv"):
        (copied / name).write_bytes(b"[]")
    result = ddpmx("run", copied / "spec.yaml", "--run", copied)
    assert result.code == 0, result.err
    assert f"{copied / 'status.json'} is damaged" in result.err
    after = RunFolder(copied)
    assert after.status()["status"] == "finished"
    assert after.environment()["data"]["train"] == 192
    assert [parse(line)["event"] for line in lines_of(copied)] == [parse(line)["event"] for line in whole]
    assert len((copied / "log.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "header", [b"", b"\0", b"\xff\xfe", b'"epoch\n' * 50, b"x" * 1_000_000, b"epoch,step\n"]
)
def test_a_damaged_table_is_replaced(copied: Path, header: bytes) -> None:
    whole = (copied / "log.csv").read_text()
    (copied / "log.csv").write_bytes(header)
    *_, row = RunFolder(copied).events("epoch")
    RunFolder(copied).rows.add(row)
    assert (copied / "log.csv").read_text() == whole
    RunFolder(copied).rows.add(row)
    assert (copied / "log.csv").read_text() == whole + whole.splitlines()[-1] + "\n"


COUNTERS: dict[str, Any] = {
    "a step of another checkpoint": {"step": 9},
    "a negative step": {"step": -1},
    "a text": {"epoch": "1"},
    "a list for the row": {"row": [1]},
    "half a row": {"row": {"epoch": 1}},
    "no best step": {"best_step": "x"},
    "rollbacks that are none": {"rollbacks": [3]},
    "counters of a newer version": {"newer": 1},
    "a batch that no epoch has": {"batch": 1000},
}


@pytest.mark.parametrize("change", COUNTERS.values(), ids=COUNTERS.keys())
def test_hostile_counters_are_named(ddpmx: Run, copied: Path, change: dict[str, Any]) -> None:
    """Counters without checksums, as in runs of early versions or from someone else."""
    for step in ("3", "6"):
        if (state := copied / "checkpoints" / step / "state.json").exists():
            content = json.loads(state.read_text())
            state.write_text(
                json.dumps({"train": {**content["train"], "step": int(step), **change}, "optimizer": {}})
            )
    result = ddpmx("run", copied / "spec.yaml", "--run", copied, "-s", "train.epochs=3")
    assert result.code == 1, result.err
    assert ("does not fit the data" if "batch" in change else "state.json is damaged") in result.err
    assert [*(copied / "checkpoints").glob("6/model.safetensors")]


@pytest.mark.parametrize("name", ["../../spec.yaml", "/dev/zero", "a/b", ".."])
def test_a_manifest_names_no_file_outside_of_its_folder(ddpmx: Run, copied: Path, name: str) -> None:
    for state in copied.glob("checkpoints/*/state.json"):
        state.write_text(
            json.dumps(
                {"train": json.loads(state.read_text())["train"], "optimizer": {}, "files": {name: "0"}}
            )
        )
    result = ddpmx("sample", copied, "-n", "1")
    assert result.code == 2
    assert "state.json is damaged" in result.err


def test_images_of_other_names_and_kinds_are_skipped(copied: Path) -> None:
    before = RunFolder(copied).grids()
    for name in ("epoch-.png", "epoch-x.png", "epoch-²2.png", "epoch-1-2.png", "epoch-" + "9" * 200 + ".png"):
        (copied / "samples" / name).write_bytes(b"")
    assert RunFolder(copied).grids() == before
    os.mkfifo(copied / "samples" / "epoch-0007.png")
    report = write_report(copied).read_text()
    assert report.count('alt="epoch') == len(before)
