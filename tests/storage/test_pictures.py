"""Pictures beside scores: small files, read back pixel for pixel, shown by the report, nothing else read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from made_runs import make_run, score

from ddpmx import Picture, SpecError
from ddpmx.images import to_pil
from ddpmx.pages.report import write_report
from ddpmx.storage import pictures
from ddpmx.storage.folder import RunFolder

Run = Callable[..., Result]


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def picture(images: torch.Tensor, label: str = "ratio") -> Picture:
    rows, columns = images.shape[:2]
    names = tuple(f"column {j}" for j in range(columns))
    return Picture(images, names, tuple(f"{label} {i}" for i in range(rows)), "What is shown.")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read(tmp_path: Path, channels: int) -> None:
    (tmp_path / "samples").mkdir()
    images = noise(4, 3, channels, 8, 8)
    records = pictures.write(
        tmp_path, "step-0000020", {"a b/c": picture(images), "a_b/c": picture(images[:2])}
    )
    assert records["a b/c"]["path"] == "samples/a_b_c-step-0000020.png"
    assert records["a_b/c"]["path"] != records["a b/c"]["path"]
    for name, count in (("a b/c", 4), ("a_b/c", 2)):
        found = pictures.read(tmp_path, records[name])
        for i in range(count):
            for j in range(3):
                expected = np.asarray(to_pil(images[i, j]))
                assert np.array_equal(np.asarray(found[i][j]), expected)


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    record = pictures.write(tmp_path, "x", {"a": picture(noise(8, 3, 3, 128, 128))})["a"]
    assert (tmp_path / record["path"]).stat().st_size <= pictures.MOST_BYTES
    found = pictures.read(tmp_path, record)
    assert [len(row) for row in found] == [3] * 8
    assert 8 <= found[0][0].width < 128


def test_only_pictures_of_the_run_are_read(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    record = pictures.write(run, "x", {"a": picture(noise(2, 2, 1, 8, 8))})["a"]
    shutil.copy(run / record["path"], tmp_path / "outside.png")
    assert pictures.read(run, record)
    assert pictures.read(run, {**record, "path": "../outside.png"}) == []
    assert pictures.read(run, {**record, "path": "samples/none.png"}) == []
    assert pictures.read(run, {**record, "labels": ["1", "2", "3"]}) == []
    (run / "samples" / "text.png").write_text("no image")
    assert pictures.read(run, {**record, "path": "samples/text.png"}) == []


def test_parts_that_do_not_fit_together_are_refused() -> None:
    good = picture(noise(2, 3, 1, 8, 8))
    for images, labels, message in (
        (good.images.float(), good.labels, "should be uint8"),
        (good.images[0], good.labels, "should be uint8"),
        (good.images, good.labels[:1], "a label for each row"),
        (noise(65, 3, 1, 2, 2), ("",) * 65, "1 to 64 rows"),
    ):
        with pytest.raises(SpecError, match=message):
            Picture(images, good.columns, labels, "")


def test_evaluate_adds_the_picture_to_the_report(ddpmx: Run, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    done = ddpmx("evaluate", run, "-n", "20", "--metrics", "memorisation", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)["pictures"]["memorisation"]
    assert re.fullmatch(r"samples/memorisation-evaluate-[0-9a-f]{16}\.png", record["path"])
    found = pictures.read(run, record)
    assert (len(found), len(found[0])) == (8, 3)
    page = (run / "report.html").read_text()
    assert "Images beside memorisation, evaluate.samples 20" in page
    assert all(label in page for label in record["labels"])
    assert page.count('alt="second nearest training image"') == 8
    (run / record["path"]).unlink()
    write_report(run)
    assert "Images beside" not in (run / "report.html").read_text()


PLUGIN = """
import torch
import ddpmx

@ddpmx.METRICS.register("shown")
class Shown(ddpmx.Metric):
    '''Brightness, with the first two images.'''

    def compute(self, subject):
        images = subject.images[:2][None]
        picture = ddpmx.Picture(images, ("first", "second"), ("two images",), "The first images.")
        value = float(subject.images.double().mean())
        score = ddpmx.Score(value, "lower", len(subject.images), subject.seed, picture=picture)
        return {"shown": score}
"""


def test_a_plugins_metric_shows_a_picture_during_training(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(PLUGIN)
    text = tiny.read_text().replace("samples: 8", "samples: 8, metrics: [shown]")
    tiny.write_text(text.replace("steps: 12", "steps: 1") + "plugins: [shown.py]\n")
    assert ddpmx("run", tiny, "--out", tmp_path / "runs").code == 0
    (run,) = (tmp_path / "runs").glob("*/*")
    (event,) = RunFolder(run).events("epoch")
    assert event["pictures"]["shown"]["path"] == "samples/shown-step-0000001.png"
    page = (run / "report.html").read_text()
    assert "Images beside shown" in page
    assert "two images" in page


def test_a_report_shows_labels_as_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", scores={"fd_cnn": score(1.0)})
    records = pictures.write(run, "x", {"fd_cnn": picture(noise(1, 2, 1, 8, 8), "<b>bold</b>")})
    folder = RunFolder(run)
    last = [*folder.events("epoch")][-1]
    folder.add_event({**last, "pictures": records})
    write_report(run)
    page = (run / "report.html").read_text()
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
