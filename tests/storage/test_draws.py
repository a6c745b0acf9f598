"""`<run>/draws/`: files have the values behind the scores' intervals; damaged or foreign ones are refused."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHORT, TINY
from made_runs import evaluated, make_run, score

from ddpmx.comparison.comparison import compare
from ddpmx.errors import Interrupted
from ddpmx.metrics import Score
from ddpmx.runs import measure as measuring
from ddpmx.runs import run as running
from ddpmx.runs.resume import Resume
from ddpmx.runs.run import run
from ddpmx.spec.loading import load
from ddpmx.storage import draws
from ddpmx.storage.draws import Draws, Stored
from ddpmx.storage.folder import RunFolder

CPU = torch.device("cpu")
HALVES = np.random.default_rng(0).normal(5.0, 0.1, 200)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    images = np.random.default_rng(1).exponential(2.0, 300)
    stored = Stored(7, {"fid": Draws("halves", HALVES, 1001), "bpd": Draws("images", images, 300)})
    name = draws.write(tmp_path, "one.safetensors", stored)
    assert name == "draws/one.safetensors"
    read = draws.read(tmp_path, name)
    assert read is not None
    assert read.step == 7
    for key, item in stored.draws.items():
        assert (read.draws[key].kind, read.draws[key].of) == (item.kind, item.of)
        assert np.array_equal(read.draws[key].values, item.values.astype(np.float32))
    assert draws.read_score(tmp_path, name, "fid", 8) is None
    assert draws.read_score(tmp_path, name, "kid", 7) is None
    assert draws.read_score(tmp_path, "", "fid", 7) is None


@pytest.mark.parametrize("images", [5_000, 5_001, 60_000])
def test_a_score_takes_at_most_20_kb(tmp_path: Path, images: int) -> None:
    values = np.random.default_rng(2).normal(size=images)
    name = draws.write(tmp_path, "x.safetensors", Stored(1, {"bpd": Draws("images", values, images)}))
    assert (tmp_path / name).stat().st_size <= 20_000 + 500  # and a header
    read = draws.read_score(tmp_path, name, "bpd", 1)
    assert read is not None
    assert (len(read.values), read.of) == (min(images, 5_000), images)
    assert set(read.values) <= set(values.astype(np.float32).astype(float))


@pytest.mark.parametrize("values", [[1.0], [1.0, math.nan], [1.0, math.inf], [1.0, 1e300]])
def test_values_without_a_usable_spread_are_left_out_and_no_damage(
    tmp_path: Path, values: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    unusable = Draws("images", np.array(values), len(values))
    stored = Stored(1, {"bad": unusable, "good": Draws("halves", HALVES, 10)})
    read = draws.read(tmp_path, draws.write(tmp_path, "x.safetensors", stored))
    assert read is not None
    assert list(read.draws) == ["good"]
    assert capsys.readouterr().err == ""


def content(facts: object, dtype: str = "F32", shape: tuple[int, ...] = (2,), size: int = 8) -> bytes:
    """A safetensors file with one tensor `a` and the facts in its metadata."""
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"facts": json.dumps(facts)}, "a": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + b"\x01" * size


def facts(step: object = 1, kinds: object = None, of: object = None) -> dict[str, object]:
    return {"step": step, "kinds": kinds or {"a": "halves"}, "of": of or {"a": 10}}


WHOLE = content(facts())
DAMAGED = {
    "empty": b"",
    "no header": b"\xff" * 8,
    "cut": WHOLE[:-1],
    "no metadata": struct.pack("<Q", 2) + b"{}",
    "facts are a list": content([1]),
    "facts are nested too deeply": content("[" * 100_000),
    "step of infinity": content(facts(step=math.inf)),
    "step as text": content(facts(step="1")),
    "negative step": content(facts(step=-1)),
    "unknown kind": content(facts(kinds={"a": "wholes"})),
    "kind as list": content(facts(kinds={"a": ["halves"]})),
    "kinds as list": content(facts(kinds=["halves"])),
    "another score's kind": content(facts(kinds={"b": "halves"})),
    "of no images": content(facts(of={"a": 1})),
    "of far too many images": content(facts(of={"a": 10**400})),
    "of fewer images than values": content(facts(kinds={"a": "images"}, of={"a": 1})),
    "float64": content(facts(), "F64", size=16),
    "complex": content(facts(), "C64", size=16),
    "bfloat16": content(facts(), "BF16", size=4),
    "a matrix": content(facts(), shape=(1, 2)),
    "a single value": content(facts(), shape=(1,), size=4),
}


def test_the_whole_file_of_the_damaged_ones_is_read(tmp_path: Path) -> None:
    (tmp_path / "draws").mkdir()
    (tmp_path / "draws" / "x.safetensors").write_bytes(WHOLE)
    read = draws.read_score(tmp_path, "draws/x.safetensors", "a", 1)
    assert read is not None
    assert len(read.values) == 2


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_reported_and_changes_no_value(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "runs")
    (run / "draws").mkdir()
    (run / "draws" / "x.safetensors").write_bytes(damage)
    evaluated(run, 4.0, values="draws/x.safetensors")
    other = make_run(tmp_path / "runs", "loss.norm=l1", scores={"fd_cnn": score(5.0, n=8)})
    comparison = compare([run, other])
    first = comparison.groups[0].standings["fd_cnn"].estimate
    assert (first.value, first.interval) == (4.0, pytest.approx((3.9, 4.1)))
    assert comparison.groups[1].standings["fd_cnn"].delta.half is not None
    assert f"{run / 'draws' / 'x.safetensors'} is damaged" in capsys.readouterr().err


def test_a_missing_file_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    evaluated(run, 4.0, values="draws/gone.safetensors")
    assert compare([run]).groups[0].standings["fd_cnn"].estimate.value == 4.0
    assert capsys.readouterr().err == ""


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "draws").mkdir()
    with (tmp_path / "draws" / "x.safetensors").open("wb") as file:
        file.truncate(draws.MAX_BYTES + 1)  # takes no room on disk
    assert draws.read(tmp_path, "draws/x.safetensors") is None


@pytest.mark.parametrize(
    "named",
    [
        "../../other.safetensors",
        "draws/../../other.safetensors",
        "{out}/other.safetensors",
        "draws/../other.safetensors",
        "draws/sub/x.safetensors",
        "draws/.x.safetensors",
        "draws/x.pt",
        "draws\\x.safetensors",
    ],
)
def test_an_event_cannot_name_a_file_elsewhere(tmp_path: Path, named: str) -> None:
    run = make_run(tmp_path / "runs")
    evaluated(run, 4.0, values=named.format(out=tmp_path))
    result = compare([run]).groups[0].runs[0].results["fd_cnn"]
    assert (result.estimate.value, result.draws) == (4.0, "")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Score]]:
    """The scores of each recorded measurement that has any."""
    found: list[dict[str, Score]] = []
    write = measuring.recorded

    def kept(experiment: Any, scores: dict[str, Score], *rest: Any, **options: Any) -> dict[str, Any]:
        found.extend([scores] if scores else [])
        return write(experiment, scores, *rest, **options)

    monkeypatch.setattr(running, "recorded", kept)
    return found


def test_a_runs_files_have_its_scores_values(tmp_path: Path, scored: list[dict[str, Score]]) -> None:
    (tmp_path / "tiny.yaml").write_text(SHORT.replace("[pixel_fd]", "[pixel_fd, {name: bpd, images: 20}]"))
    path = run(load(tmp_path / "tiny.yaml"), out=tmp_path / "runs", device=CPU)
    events = [event for event in RunFolder(path).events("epoch") if event["metrics"]]
    assert len(events) == len(scored) > 1
    for event, scores in zip(events, scored, strict=True):
        stored = draws.read(path, event["values"])
        assert stored is not None
        assert stored.step == event["step"]
        assert stored.draws.keys() == scores.keys() == event["metrics"].keys()
        for name, one in scores.items():
            assert one.values is not None
            assert np.array_equal(stored.draws[name].values, one.values.float().double().numpy())
        bits = stored.draws["bpd"]
        assert (bits.kind, bits.of, len(bits.values)) == ("images", 20, 20)
        assert bits.values.mean() == pytest.approx(event["metrics"]["bpd"], rel=1e-6)
        assert (stored.draws["pixel_fd"].kind, stored.draws["pixel_fd"].of) == ("halves", 8)


def check_losses(path: Path) -> None:
    """The stored losses are those of the best step, and their mean is the lowest validation loss."""
    best = int((path / "checkpoints" / "best").readlink().name)
    losses = {event["step"]: event["val_loss"] for event in RunFolder(path).events("epoch")}
    assert min(losses, key=lambda step: losses[step]) == best
    stored = draws.read_score(path, f"draws/{draws.VAL_LOSS}", "val_loss", best)
    assert stored is not None
    assert stored.values.mean() == pytest.approx(losses[best], rel=1e-5)


def test_the_stored_losses_are_the_best_steps_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("steps: 12", "epochs: 3").replace("digits", "{name: digits, limit: 192}", 1)
    )
    spec = load(tmp_path / "tiny.yaml")
    once = run(spec, out=tmp_path / "once", device=CPU)
    check_losses(once)
    store = running.store_losses

    def killed(path: Path, step: int, validated: Any) -> None:
        store(path, step, validated)
        if step == 6:
            raise KeyboardInterrupt  # the losses of step 6 are stored

    with monkeypatch.context() as context:
        context.setattr(running, "store_losses", killed)
        with pytest.raises(Interrupted):
            run(spec, out=tmp_path / "twice", device=CPU)
    twice = run(spec, out=tmp_path / "twice", device=CPU, resume=Resume())
    check_losses(twice)
    file = f"draws/{draws.VAL_LOSS}"
    assert (twice / file).read_bytes() == (once / file).read_bytes()


def test_the_losses_of_another_step_are_not_the_interval(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    losses = Draws("images", np.random.default_rng(0).normal(0.25, 0.05, 100), 100)
    halves = {}
    for step in (10, 20):
        draws.write(path, draws.VAL_LOSS, Stored(step, {"val_loss": losses}))
        halves[step] = compare([path]).groups[0].standings["val_loss"].estimate.interval
    assert halves[10] is None  # the lowest loss is that of step 20
    assert halves[20] is not None
    assert (halves[20][1] - halves[20][0]) / 2 == pytest.approx(
        1.984 * losses.values.std(ddof=1) / 10, rel=1e-3
    )
