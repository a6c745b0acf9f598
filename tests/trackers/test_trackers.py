"""Trackers receive the run's events, continue after a resume, and never stop a run."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, Result, only_run

import ddpmx
from ddpmx.errors import SpecError
from ddpmx.images import grid
from ddpmx.trackers import Tracker, Trackers, TrackerSession, flattened, mirror, sample_grid_file, scalars

CONFIG = {
    "name": "study",
    "seed": 3,
    "train": {"lr": 1e-3, "epochs": 2},
    "schedule": {"name": "linear", "timesteps": 500},
}


def events(first_step: int = 1, steps: int = 2) -> list[dict[str, Any]]:
    """The events of an epoch with one image per step."""
    numbers = range(first_step, first_step + steps)
    trained = [
        {"event": "step", "epoch": 1, "step": k, "images": k, "loss": 1 / k, "lr": 0.5, "grad_norm": 2.0}
        for k in numbers
    ]
    last = {"epoch": 1, "step": numbers[-1], "images": numbers[-1]}
    measured = {
        "train_loss": 0.75,
        "val_loss": 0.5,
        "seconds": 3.0,
        "images_per_second": 9.0,
        "metrics": {"fd_cnn": 12.5},
    }
    grids = [
        {"event": "samples", "epoch": 1, "step": numbers[-1], "path": f"samples/{name}.png"}
        for name in ("epoch-0001", "final")
    ]
    return [*trained, {"event": "epoch", **last, **measured}, *grids]


PER_T = {
    "event": "per_t",
    "epoch": 1,
    "step": 2,
    "t": [1.5, 5.5, 9.5],
    "log_snr": [4.0, -1.0, None],
    "n": [3, 4, 3],
    "loss": [0.5, 0.25, 0.125],
    "share": [0.6, 0.3, 0.1],
    "bits": [None, 0.5, 0.25],
}
FLAT = {
    "name": "study",
    "seed": 3,
    "train.lr": 1e-3,
    "train.epochs": 2,
    "schedule.name": "linear",
    "schedule.timesteps": 500,
}
ROLLBACK = {"event": "diverged", "action": "rollback", "epoch": 1, "step": 2, "at_step": 5, "loss": "nan"}
END = {"event": "end", "status": "finished", "why": "", "step": 4, "seconds": 9.0}


@pytest.fixture(name="run_ddpmx")
def _run_ddpmx(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """The fixture `ddpmx` of conftest, under another name, since `ddpmx` is the package here."""
    return request.getfixturevalue("ddpmx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "study" / "20250101-120000"
    (path / "samples").mkdir(parents=True)
    for name in ("epoch-0001", "final"):
        grid(torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)).save(path / "samples" / f"{name}.png")
    (path / "report.html").write_text("<p>the report</p>")
    return path


def follow(
    tracker: Tracker,
    folder: Path,
    sent: list[dict[str, Any]],
    *,
    resume: bool = False,
    status: str = "finished",
) -> None:
    session = tracker.open(folder, CONFIG, resume)
    for event in sent:
        session.log(event)
    session.close(status)


def test_scalars_are_the_numbers_of_an_event_by_name():
    step, *_, epoch, _, _ = events()
    assert scalars(step) == {"train/loss": 1.0, "train/lr": 0.5, "train/grad_norm": 2.0}
    assert scalars(epoch) == {
        "epoch/train_loss": 0.75,
        "epoch/val_loss": 0.5,
        "epoch/seconds": 3.0,
        "epoch/images_per_second": 9.0,
        "metrics/fd_cnn": 12.5,
    }
    later = {"event": "evaluate", "epoch": 1, "step": 2, "samples": 100, "metrics": {"fd_cnn": 8.0}}
    assert scalars(later) == {"metrics/fd_cnn": 8.0}
    assert scalars(PER_T) == {}


class TestJSONLines:
    def test_every_event_with_the_run_s_name_and_id(self, folder: Path, tmp_path: Path):
        path = tmp_path / "all" / "events.jsonl"
        tracker = ddpmx.TRACKERS.build("jsonl", path=str(path))
        follow(tracker, folder, [*events(), END])
        follow(
            tracker, folder, [END, {**END, "step": 5}], resume=True
        )  # the first one is already in the file
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines == [
            {"run": "study", "id": "20250101-120000", **event}
            for event in [*events(), END, {**END, "step": 5}]
        ]

    def test_runs_share_a_file_line_by_line(self, folder: Path, tmp_path: Path):
        path = tmp_path / "events.jsonl"
        tracker = ddpmx.TRACKERS.build("jsonl", path=str(path))
        long = {"event": "step", "text": "x" * 10_000}
        runs = [
            threading.Thread(target=follow, args=(tracker, folder.parent / f"run-{i}", [long] * 50))
            for i in range(4)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert sorted(ids) == sorted(f"run-{i}" for i in range(4) for _ in range(50))

    def test_the_path_is_required_and_a_file(self, tmp_path: Path):
        with pytest.raises(SpecError, match="path: required"):
            ddpmx.TRACKERS.build("jsonl")
        with pytest.raises(SpecError, match="is a folder"):
            ddpmx.TRACKERS.build("jsonl", path=str(tmp_path)).check()


class TestTensorBoard:
    @pytest.fixture
    def read(self):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

        def read(folder: Path) -> Any:
            recorded = accumulator.EventAccumulator(
                str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "histograms": 0}
            )
            return recorded.Reload()

        return read

    def test_scalars_and_images_are_written(self, folder: Path, read: Any):
        follow(ddpmx.TRACKERS.build("tensorboard"), folder, [*events(), END])
        recorded = read(folder)
        assert [(e.step, e.value) for e in recorded.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
        assert [(e.step, e.value) for e in recorded.Scalars("metrics/fd_cnn")] == [(2, 12.5)]
        assert [(e.step, e.width) for e in recorded.Images("samples/epochs")] == [
            (2, 102)
        ]  # two tiles of 48 pixels and three gaps of 2
        assert len(recorded.Images("samples/final")) == 1

    def test_curves_over_t_are_the_bars_of_a_histogram(self, folder: Path, read: Any):
        follow(
            ddpmx.TRACKERS.build("tensorboard"),
            folder,
            [
                *events(),
                PER_T,
                {**PER_T, "step": 4, "t": [3.0], **{key: [2.0] for key in ("loss", "share", "bits")}},
            ],
        )
        recorded = read(folder)
        first, second = recorded.Histograms("per_t/loss")
        assert (first.step, first.histogram_value.min, first.histogram_value.max) == (2, -0.5, 11.5)
        assert list(first.histogram_value.bucket_limit) == [3.5, 7.5, 11.5]
        assert list(first.histogram_value.bucket) == PER_T["loss"]
        assert list(recorded.Histograms("per_t/bits")[0].histogram_value.bucket) == [0, 0.5, 0.25]
        assert (
            second.step,
            list(second.histogram_value.bucket_limit),
            list(second.histogram_value.bucket),
        ) == (4, [3.5], [2.0])

    def test_steps_that_a_resumed_run_repeats_are_not_duplicated(self, folder: Path, read: Any):
        tracker = ddpmx.TRACKERS.build("tensorboard")
        follow(tracker, folder, events(1, 4))
        follow(tracker, folder, events(3, 4), resume=True)
        assert [e.step for e in read(folder).Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]

    def test_repeated_steps_after_a_rollback_replace_the_old_ones(self, folder: Path, read: Any):
        """The run rolls back to step 2 and repeats steps 3 and 4; the values of step 2 stay."""
        repeated = [
            {**event, **({"loss": 7.0} if "loss" in event else {"val_loss": 0.25})}
            for event in events(3, 2)[:-2]
        ]
        sent = [*events(1, 2), *events(3, 2), ROLLBACK, *repeated, END]
        follow(ddpmx.TRACKERS.build("tensorboard"), folder, sent)
        recorded = read(folder)
        assert [(e.step, e.value) for e in recorded.Scalars("train/loss")] == [
            (1, 1.0),
            (2, 0.5),
            (3, 7.0),
            (4, 7.0),
        ]
        assert [(e.step, e.value) for e in recorded.Scalars("epoch/val_loss")] == [(2, 0.5), (4, 0.25)]


class TestWandb:
    """Real offline runs: the file that `wandb sync` would upload is read back."""

    @pytest.fixture(autouse=True)
    def _private(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        pytest.importorskip("wandb")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
            monkeypatch.setenv(name, str(tmp_path / name.lower()))
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")

    def records(self, run: Path) -> list[Any]:
        """The records in a run's file: a 7-byte header, then LevelDB's log format.

        Blocks of 32 KiB hold pieces: checksum (4 bytes), length (2), kind (1), data. Kind 1 is a whole
        record, 4 the last piece of one.
        """
        import wandb
        from wandb.proto.wandb_internal_pb2 import Record

        wandb.teardown()  # flushes the writer, as the end of a process does

        content = next(run.glob("*.wandb")).read_bytes()
        records, offset, piece = [], 7, b""
        while offset + 7 <= len(content):
            if offset % 32768 > 32768 - 7:
                offset += 32768 - offset % 32768
                continue
            _, length, kind = struct.unpack_from("<IHB", content, offset)
            piece += content[offset + 7 : offset + 7 + length]
            offset += 7 + length
            if kind in (1, 4):
                records.append(Record.FromString(piece))
                piece = b""
        return records

    def test_config_curves_images_and_report(self, folder: Path):
        tracker = ddpmx.TRACKERS.build("wandb", mode="offline", project="p", group="g", tags=("a", "b"))
        follow(tracker, folder, [*events(1, 3), {**PER_T, "step": 3}, END])
        [run] = (folder / "wandb").glob("offline-run-*")
        records = self.records(run)

        [started] = [record.run for record in records if record.HasField("run")]
        assert (started.run_id, started.project, started.run_group) == ("study-20250101-120000", "p", "g")
        assert list(started.tags) == ["a", "b"]
        config = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in started.config.update
        }
        assert {key: config[key] for key in FLAT} == FLAT

        rows = []
        for record in records:
            if record.HasField("history"):
                rows.append(
                    {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in record.history.item
                    }
                )
        assert [row["_step"] for row in rows] == [1, 2, 3]
        assert [row["train/loss"] for row in rows] == [1.0, 0.5, 1 / 3]
        assert [row["images"] for row in rows] == [1, 2, 3]
        assert (rows[-1]["epoch/val_loss"], rows[-1]["metrics/fd_cnn"]) == (0.5, 12.5)
        for key in ("samples/epochs", "samples/final"):
            assert (run / "files" / rows[-1][f"{key}/path"]).is_file()
        reports = [
            record.request.log_artifact.artifact
            for record in records
            if record.request.HasField("log_artifact")
        ]
        reports += [record.artifact for record in records if record.HasField("artifact")]
        paths = [(artifact.type, artifact.manifest.contents[0].path) for artifact in reports]
        assert paths == [
            *(("run_table", f"per_t/{key}_table.table.json") for key in ("loss", "bits")),
            ("report", "report.html"),
        ]
        staged = Path(reports[-1].manifest.contents[0].local_path)
        tables = [
            json.loads((run / "files" / rows[-1][f"per_t/{key}_table/path"]).read_text())
            for key in ("loss", "bits")
        ]
        assert [table["columns"] for table in tables] == 2 * [["log_snr", "t", "n", "loss", "share", "bits"]]
        # Rows without a finite log-SNR, or without bits, are left out.
        assert [table["data"] for table in tables] == [
            [[4.0, 1.5, 3, 0.5, 0.6, None], [-1.0, 5.5, 4, 0.25, 0.3, 0.5]],
            [[-1.0, 5.5, 4, 0.25, 0.3, 0.5]],
        ]
        assert staged.is_relative_to(folder)
        assert staged.read_text() == (folder / "report.html").read_text()
        assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
        assert [file for file in (folder.parents[1] / "home").rglob("*") if file.is_file()] == []
        axes = {
            (record.metric.name or record.metric.glob_name): record.metric.step_metric
            for record in records
            if record.HasField("metric")
        }
        assert (axes["epoch/*"], axes["metrics/*"], axes["images"]) == ("images", "images", "")

    def test_scores_are_summarised_with_their_intervals_and_later_ones_do_not_go_back_in_time(
        self, folder: Path
    ):
        score = {"value": 8.0, "interval": [7.5, 8.5], "n": 100, "floor": 0.5, "floor_n": 100}
        later = {
            "event": "evaluate",
            "epoch": 1,
            "step": 1,
            "samples": 100,
            "metrics": {"fd_cnn": 8.0},
            "scores": {"fd_cnn": score},
        }
        follow(ddpmx.TRACKERS.build("wandb", mode="offline"), folder, [*events(1, 3), later, END])
        [run] = (folder / "wandb").glob("offline-run-*")
        summary: dict[str, Any] = {}
        for record in self.records(run):
            if record.HasField("summary"):
                summary |= {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.summary.update
                }
        recorded = {key: summary.get(f"metrics/fd_cnn{key}") for key in ("", ".low", ".high", ".n", ".floor")}
        assert recorded == {"": 8.0, ".low": 7.5, ".high": 8.5, ".n": 100, ".floor": 0.5}
        assert summary["status"] == "finished"

    def test_repeated_steps_after_a_rollback_are_not_the_result(self, folder: Path):
        """wandb keeps the first step 4; the summary has the last step's values, not a repeated one's."""
        repeated = [{**event, "val_loss": 9.0} for event in events(3, 1)]
        follow(
            ddpmx.TRACKERS.build("wandb", mode="offline"),
            folder,
            [*events(1, 4), ROLLBACK, *repeated, *events(4, 2), END],
        )
        [run] = (folder / "wandb").glob("offline-run-*")
        records = self.records(run)
        rows = [
            {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for record in records
            if record.HasField("history")
        ]
        assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5]
        updates = [item for record in records if record.HasField("summary") for item in record.summary.update]
        assert 9.0 not in [
            json.loads(item.value_json)
            for item in updates
            if (item.key or item.nested_key[0]) == "epoch/val_loss"
        ]

    def test_a_resumed_run_keeps_its_id(self, folder: Path):
        tracker = ddpmx.TRACKERS.build("wandb", mode="offline")
        follow(tracker, folder, events(1, 2), status="interrupted")
        follow(tracker, folder, events(2, 2), resume=True, status="failed")
        runs = [self.records(run) for run in sorted((folder / "wandb").glob("offline-run-*"))]
        assert [[record.run.run_id for record in run if record.HasField("run")] for run in runs] == 2 * [
            ["study-20250101-120000"]
        ]
        assert [record.exit.exit_code for run in runs for record in run if record.HasField("exit")] == [
            130,
            1,
        ]


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_missing_package_is_named_with_what_to_install(
    name: str, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    tracker = ddpmx.TRACKERS.build(name)
    with pytest.raises(SpecError) as caught:
        tracker.check()
    assert f"pip install 'ddpmx[{name}]'" in str(caught.value)
    with pytest.raises(SpecError):
        Trackers.open([tracker], folder, CONFIG, False)


class Fake:
    """A session that runs the given functions at each call and records the events."""

    def __init__(
        self, log: Callable[[], None] = lambda: None, close: Callable[[], None] = lambda: None
    ) -> None:
        self.received: list[Any] = []
        self._log, self._close = log, close

    def log(self, event: Any) -> None:
        self._log()
        self.received.append(event)

    def close(self, status: str) -> None:
        self._close()
        self.received.append(status)


def fail() -> None:
    raise ConnectionError("the network is down")


def hang() -> None:
    threading.Event().wait()


def test_a_tracker_that_raises_stops_nothing_and_warns_once(capsys: pytest.CaptureFixture[str]):
    broken, listening = Fake(fail, fail), Fake()
    trackers = Trackers({"broken": lambda: broken, "listening": lambda: listening})
    for event in events():
        trackers.log(event)
    trackers.close("finished")
    assert listening.received == [*events(), "finished"]
    stderr = capsys.readouterr().err
    assert stderr.count("the tracker broken failed (ConnectionError: the network is down)") == 1
    assert len(stderr.splitlines()) == 1


def test_a_tracker_that_cannot_open_stops_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    class CannotOpen(Tracker):
        """Fails at once."""

        def open(self, folder: Path, config: dict[str, Any], resume: bool) -> TrackerSession:
            raise TimeoutError("nobody there")

    path = tmp_path / "events.jsonl"
    trackers = Trackers.open(
        [CannotOpen(), ddpmx.TRACKERS.build("jsonl", path=str(path))], folder, CONFIG, False
    )
    trackers.log(END)
    trackers.close("finished")
    assert len(path.read_text().splitlines()) == 1
    assert "nobody there" in capsys.readouterr().err


PLUGIN = """
import threading
import ddpmx

class Session:
    def __init__(self, hang_in):
        self.hang_in = hang_in
    def log(self, event):
        if self.hang_in == "log":
            threading.Event().wait()
    def close(self, status):
        if self.hang_in == "close":
            threading.Event().wait()

@ddpmx.TRACKERS.register("hanging")
class Hanging(ddpmx.Tracker):
    hang_in: str = "log"
    def open(self, folder, config, resume):
        if self.hang_in == "open":
            threading.Event().wait()
        return Session(self.hang_in)
"""


def test_a_run_ends_though_its_trackers_hang_and_its_events_can_be_replayed(
    run_ddpmx: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trackers hang in open, log and close: together they delay the end by CLOSING only."""
    monkeypatch.setattr(mirror, "CLOSING", 0.5)
    (tmp_path / "hanging.py").write_text(PLUGIN)
    track = ", ".join(f"{{name: hanging, hang_in: {method}}}" for method in ("open", "log", "close"))
    (tmp_path / "spec.yaml").write_text(f"{TINY}plugins: [hanging.py]\ntrack: [{track}]\n")
    result = run_ddpmx("run", tmp_path / "spec.yaml", "--out", tmp_path / "runs")
    assert result.code == 0, result.err
    for name in ("hanging", "hanging (1)", "hanging (2)"):
        assert f"the tracker {name} did not finish within 0.5 seconds and gets no more events" in result.err
    run = only_run(tmp_path / "runs")
    assert f"ddpmx track {run} --to hanging" in result.err
    written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert written[-1]["status"] == "finished"

    target = tmp_path / "replayed.jsonl"
    for _ in range(2):  # the second replay has nothing new
        result = run_ddpmx("track", run, "--to", "jsonl", "-s", f"path={target}")
        assert result.code == 0, result.err
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert lines == [{"run": "tiny", "id": run.name, **event} for event in written]
    for arguments, message in (
        (("--to", "tensorbord"), "did you mean 'tensorboard'?"),
        (("--to", "jsonl", "-s", "pth=x"), "did you mean 'path'?"),
        (("--to", "jsonl", "-s", "path"), "should be KEY=VALUE"),
        (("--to", "jsonl"), "path: required"),
    ):
        result = run_ddpmx("track", run, *arguments)
        assert result.code == 2
        assert message in result.err


def test_a_tracker_that_is_too_slow_is_abandoned_and_the_run_never_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(mirror, "QUEUED", 3)
    slow, listening = Fake(hang), Fake()
    trackers = Trackers({"slow": lambda: slow})
    for number in range(100):
        trackers.log({**END, "step": number})
    trackers.close("finished")
    assert slow.received == []
    assert listening.received == []
    stderr = capsys.readouterr().err
    assert stderr.count("the tracker slow is 3 events behind and gets no more events") == 1


def test_replaying_into_tensorboard_duplicates_nothing(run_ddpmx: Callable[..., Result], folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (folder / "spec.yaml").write_text(TINY)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in [*events(), END]))
    for _ in range(2):
        assert run_ddpmx("track", folder, "--to", "tensorboard").code == 0
    recorded = accumulator.EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0}
    ).Reload()
    assert [(e.step, e.value) for e in recorded.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(
    "name",
    ["../../secret.png", "{}/secret.png", "samples/link.png", "samples", "samples/pipe", "a\0b", "x" * 5000],
)
@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "seeing"])
def test_a_strangers_run_cannot_name_an_image_outside_its_folder(
    run_ddpmx: Callable[..., Result], folder: Path, name: Any, tracker: str, monkeypatch: pytest.MonkeyPatch
):
    """Neither for built-in trackers nor for a plugin's. The link appears after the folder's check."""
    secret = folder.parents[1] / "secret.png"
    grid(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)).save(secret)
    (folder / "samples" / "link.png").symlink_to(secret)
    os.mkfifo(folder / "samples" / "pipe")
    monkeypatch.setattr("ddpmx.storage.folder.refuse_links_out", lambda run: None)
    (folder / "seeing.py").write_text(SEEING)
    (folder / "spec.yaml").write_text(f"{TINY}plugins: [seeing.py]\n")
    named = name.format(secret.parent) if isinstance(name, str) else name
    samples = {"event": "samples", "epoch": 1, "step": 1, "path": named}
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(event) + "\n" for event in [*events()[:1], samples, END])
    )
    options = ["-s", "mode=offline"] if tracker == "wandb" else []
    result = run_ddpmx("track", folder, "--to", tracker, "--allow-plugins", *options)
    assert result.code == 2
    assert "an image that is not a file in the run's folder" in result.err
    assert not list(folder.glob("seen"))
    with pytest.raises(SpecError, match="not a file in the run's folder"):
        sample_grid_file(folder, samples)


SEEING = """
import ddpmx
from pathlib import Path

class Session:
    def log(self, event):
        Path(__file__).with_name("seen").touch()
    def close(self, status):
        pass

@ddpmx.TRACKERS.register("seeing")
class Seeing(ddpmx.Tracker):
    def open(self, folder, config, resume):
        return Session()
"""


def test_flattened_has_a_dotted_key_for_each_value():
    config = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": [{"name": "x"}, {"name": "y"}]}
    assert flattened(config) == {"a": 1, "b.c": [1, 2], "b.d.e": None, "f.0.name": "x", "f.1.name": "y"}


def test_metrics_of_other_settings_have_names_of_their_own():
    event = {"event": "evaluate", "epoch": 1, "step": 2, "samples": 8, "seed": 0, "metrics": {"fd_cnn": 2.5}}
    assert scalars(event) == {"metrics/fd_cnn": 2.5}
    other = {**event, "changes": {"evaluate.sampler": {"name": "heun", "steps": 5}, "evaluate.seed": 1}}
    assert scalars(other) == {"others/fd_cnn (evaluate.sampler heun (steps 5), evaluate.seed 1)": 2.5}
