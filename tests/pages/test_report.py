"""report.html shows what the run's folder contains, makes no network requests, tolerates missing files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import TINY
from made_runs import epoch, score
from PIL import Image

from ddpmx.errors import SpecError
from ddpmx.images import grid
from ddpmx.pages import plots
from ddpmx.pages.report import write_report
from ddpmx.spec.loading import load
from ddpmx.storage.folder import RunFolder

SOURCES = ("src", "href", "data", "action", "poster", "srcset", "xlink:href", "background")


class Page(HTMLParser):
    """The tags of a page, the addresses in them, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def addresses(self) -> list[str]:
        return [str(attributes[key]) for _, attributes in self.tags for key in SOURCES if key in attributes]


@pytest.fixture(scope="module")
def spec_plots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny spec's plots, made once."""
    path = tmp_path_factory.mktemp("plots")
    (path / "tiny.yaml").write_text(TINY)
    plots.write_plots(path / "plots", load(path / "tiny.yaml"))
    return path / "plots"


@pytest.fixture
def run(tiny: Path, tmp_path: Path, spec_plots: Path) -> RunFolder:
    """A run that has just started."""
    folder = RunFolder.create(tmp_path / "runs", load(tiny))
    shutil.copytree(spec_plots, folder.plots, dirs_exist_ok=True)
    folder.set_status("running")
    return folder


def trained(
    folder: RunFolder, epochs: int = 3, size: int = 8, channels: int = 1, images: int = 16
) -> RunFolder:
    """Give the run a history whose second epoch is the best, and blurred noise as samples."""
    generator = torch.Generator().manual_seed(0)

    def noise(n: int) -> torch.Tensor:
        return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)

    def blurred(n: int) -> torch.Tensor:
        coarse = torch.rand(n, channels, 6, 6, generator=generator)
        return (255 * torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")).to(
            torch.uint8
        ) + noise(n) // 32

    for index in range(1, epochs + 1):
        for step in range(10 * index - 9, 10 * index + 1):
            folder.add_event(
                {
                    "event": "step",
                    "epoch": index,
                    "step": step,
                    "images": 64 * step,
                    "loss": 1 / step,
                    "lr": 1e-3,
                    "grad_norm": 1.0,
                }
            )
        folder.add_event(epoch(index, 0.25 if index == 2 else 0.5, {"fd_cnn": score(1234.5 + index)}))
        grid(blurred(images)).save(folder.samples / f"epoch-{index:04d}.png")
    grid(blurred(images)).save(folder.samples / "final.png")
    grid(noise(80), columns=10).save(folder.samples / "denoising.png")
    environment = {
        "device": "cpu: a processor",
        "parameters": 4321,
        "commit": None,
        "data": {"train": 1437},
        "command": "python -m ddpmx run tiny.yaml",
    }
    folder.write_json("environment.json", environment)
    folder.set_status("finished", epoch=epochs, step=10 * epochs)
    return folder


def write(folder: RunFolder) -> Page:
    return Page(write_report(folder.path).read_text())


def test_it_says_what_the_folder_says(run: RunFolder):
    text = write(trained(run)).text
    for said in (
        "tiny",
        "finished",
        "0.25",
        "lowest, epoch 2",
        "1,238",
        "epoch 3, 8 samples",
        "3 min 03 s",
        "102",
        "4,321 parameters",
        "a processor",
    ):
        assert said in text
    assert (run.path / "spec.yaml").read_text().strip() in text
    assert f"python -m ddpmx sample {run.path} " in text
    assert f"python -m ddpmx run {run.path}/spec.yaml --resume --run {run.path} -s train.steps=24" in text


def test_curves_are_kept_beside_the_run_s_other_plots(run: RunFolder):
    write(trained(run))
    assert {path.stem for path in run.plots.iterdir()} == {
        *plots.CAPTIONS,
        "learning",
        "metric_fd_cnn",
        "gradient",
    } - {
        "signal_sigma",
        "learned_weight",
    }


def test_no_request_leaves_it(run: RunFolder):
    html = write_report(trained(run).path).read_text()
    parsed = Page(html)
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses())
    assert not re.findall(r"@import|url\((?!#)", html)
    assert not parsed.named("link")
    policy = next(
        meta["content"]
        for meta in parsed.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1
    assert (
        policy
        == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    )


def test_pictures_are_the_run_s_own(run: RunFolder):
    pictures = {str(img["alt"]): str(img["src"]) for img in write(trained(run)).named("img")}
    assert list(pictures) == [
        "images sampled after training",
        "epoch 1",
        "epoch 2",
        "epoch 3",
        "images at steps of sampling, from noise",
    ]
    for label, name in (("epoch 2", "epoch-0002"), ("images sampled after training", "final")):
        (run.path / "taken.png").write_bytes(base64.b64decode(pictures[label].split(",")[1]))
        with Image.open(run.path / "taken.png") as taken, Image.open(run.samples / f"{name}.png") as saved:
            assert taken.tobytes() == saved.tobytes()


def test_an_ordinary_run_stays_below_a_megabyte(run: RunFolder):
    """Grids of 64 slightly noisy colour images of 32×32, in 14 epochs."""
    html = write_report(trained(run, epochs=14, size=32, channels=3, images=64).path).read_text()
    assert len(html.encode()) < 1_000_000
    labels = [str(img["alt"]) for img in Page(html).named("img")]
    shown = [int(label.split()[1]) for label in labels if label.startswith("epoch ")]
    assert shown[0] == 1
    assert shown[-1] == 14
    assert shown == sorted(set(shown))


def test_everything_written_by_a_user_is_escaped(run: RunFolder):
    trained(run)
    run.set_status("failed", '<script>alert("x")</script>')
    run.write_json("environment.json", {"device": "<img src=x onerror=y>", "command": "a && b <c>"})
    html = write_report(run.path).read_text()
    assert "&lt;script&gt;alert" in html
    assert len(re.findall("<script>", html)) == 1
    assert "x" not in [img["src"] for img in Page(html).named("img")]
    assert "a &amp;&amp; b &lt;c&gt;" in html


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_did_not_finish_says_why_and_how_to_resume(run: RunFolder, status: str):
    trained(run).set_status(status, "diverged at step 31: the loss is nan")
    text = write(run).text
    assert status in text
    assert "diverged at step 31: the loss is nan" in text
    assert f"--resume --run {run.path}\n" in text.replace(f"{run.path}Sample", f"{run.path}\n")
    assert "train.steps=" not in text


def test_a_run_that_has_just_started(run: RunFolder):
    text = write(run).text
    assert "running" in text
    assert "No epoch has finished yet." in text


def test_steps_of_an_unfinished_first_epoch_are_shown(run: RunFolder):
    run.write_json("environment.json", {"data": {"train": 6400}})
    for step in (10, 20, 50):
        run.add_event(
            {
                "event": "step",
                "epoch": 1,
                "step": step,
                "images": 64 * step,
                "loss": 1 / step,
                "lr": 1e-3,
                "grad_norm": 1.0,
            }
        )
    write(run)
    svg = (run.plots / "learning.svg").read_text()
    assert "single steps" in svg
    assert "0.5" in svg  # 50 steps of 64 images are half of 6400


@pytest.mark.parametrize(
    "missing", ["environment.json", "status.json", "metrics.jsonl", "samples", "plots", "log.csv"]
)
def test_missing_files_are_tolerated(run: RunFolder, missing: str):
    path = trained(run).path / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    assert "tiny" in write(run).text


def test_truncated_files_are_omitted(run: RunFolder):
    trained(run)
    for path in (run.samples / "epoch-0002.png", run.plots / "beta.svg"):
        path.write_bytes(path.read_bytes()[:300])
    (run.plots / "alpha_bar.svg").write_text("<html>")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "st')
    parsed = write(run)
    assert "epoch 2" not in [img["alt"] for img in parsed.named("img")]
    assert plots.CAPTIONS["beta"] not in parsed.text
    assert plots.CAPTIONS["alpha_bar"] not in parsed.text
    assert plots.CAPTIONS["log_snr"] in parsed.text


def test_losses_that_are_not_finite_are_no_results(run: RunFolder):
    trained(run).add_event(epoch(4, float("nan"), {}))
    text = write(run).text
    assert "lowest, epoch 2" in text


def test_a_folder_that_is_no_run(tmp_path: Path):
    with pytest.raises(SpecError, match="is not a run"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_events_are_those_of_the_contract(run: RunFolder):
    """`RunFolder` reads back what the functions above write."""
    assert [event["event"] for event in trained(run).events()].count("epoch") == 3
    assert json.loads((run.path / "status.json").read_text())["status"] == "finished"
