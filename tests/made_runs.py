"""Making run folders with a history, without training, for tests of `compare` and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import TINY

from ddpmx.images import grid
from ddpmx.spec.loading import load
from ddpmx.spec.schema import Spec
from ddpmx.storage.draws import Draws, Stored, write
from ddpmx.storage.folder import RunFolder

LOG_SNR, T = [4.0, 1.0, -2.0, -6.0], [1.5, 5.5, 9.5, 13.5]
ENVIRONMENT = {
    "torch": "2.14.1",
    "device": "cpu: a processor",
    "parameters": 4321,
    "data": {"name": "digits", "fingerprint": "abc", "classes": None, "train": 1437},
}


def score(value: float, half: float | None = 0.1, **changes: Any) -> dict[str, Any]:
    """A score as a run records it: value ± half, by default on 1,000 images."""
    return {
        "value": value,
        "interval": None if half is None else [value - half, value + half],
        "n": 1000,
        "split": "test",
        "extractor": "c0ffee",
        "preprocessing": "bytes",
        "seed": 0,
        "interval_note": "",
        "floor": 0.5,
        "floor_n": 898,
        "better": "lower",
        **changes,
    }


def epoch(number: int, val_loss: float, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An `epoch` event of 10 steps, with a metric for each score."""
    return {
        "event": "epoch",
        "epoch": number,
        "step": 10 * number,
        "images": 640 * number,
        "train_loss": 0.5 / number,
        "val_loss": val_loss,
        "seconds": 61.0,
        "images_per_second": 100.0 + number,
        "metrics": {name: entry["value"] for name, entry in scores.items()},
        "scores": scores,
    }


def per_t(epoch: int, loss: float = 1.0, bits: float = 0.5, **changes: Any) -> dict[str, Any]:
    """An evaluation by timestep with four ranges, of which the first has no bits."""
    shape = np.array([4.0, 3.0, 2.0, 1.0])
    return {
        "event": "per_t",
        "epoch": epoch,
        "step": 10 * epoch,
        "t": T,
        "log_snr": LOG_SNR,
        "n": [5, 5, 5, 5],
        "loss": (loss * shape).tolist(),
        "share": (shape / shape.sum()).tolist(),
        "bits": [None, *(bits * shape[1:]).tolist()],
        **changes,
    }


def add_measurement(
    run: Path, value: float, draws: np.ndarray | None = None, *, name: str = "fd_cnn", **settings: Any
) -> None:
    """Add an `evaluate` event: `settings` are keys of the event, or those of the spec.

    `draws` are the scores of the random halves.
    """
    folder = RunFolder(run)
    evaluate = folder.spec_data()["evaluate"]
    event = {
        "event": "evaluate",
        "epoch": 2,
        "step": 20,
        "samples": evaluate["samples"],
        "seed": evaluate["seed"],
        "sampler": evaluate["sampler"],
        "weights": {"checkpoint": "best", "ema_std": None},
        "metrics": {name: value},
        "scores": {name: score(value, None if draws is None else 1.96 * float(np.std(draws, ddof=1)))},
        **settings,
    }
    if draws is not None:
        file = f"m{len(list(folder.events('evaluate')))}.safetensors"
        stored = Stored(event["step"], {name: Draws("halves", value + draws, 1000)})
        event["values"] = write(run, file, stored)
    folder.add_event(event)


def make_run(
    out: Path,
    *overrides: str,
    scores: dict[str, dict[str, Any]] | None = None,
    val_loss: float = 0.25,
    status: str = "finished",
    epochs: int = 2,
) -> Path:
    """A run of the tiny spec with overrides; see `run_of`."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "tiny.yaml"
    file.write_text(TINY)
    return run_of(load(file, overrides), out, scores, val_loss=val_loss, status=status, epochs=epochs)


def run_of(
    spec: Spec,
    out: Path,
    scores: dict[str, dict[str, Any]] | None = None,
    *,
    val_loss: float = 0.25,
    status: str = "finished",
    epochs: int = 2,
) -> Path:
    """A run of a spec. `scores` are those of the last epoch; earlier ones are worse."""
    folder = RunFolder.create(out, spec)
    for number in range(1, epochs + 1):
        offset = (epochs - number) * 10
        epoch_scores = {
            name: {
                **entry,
                "value": entry["value"] + offset,
                "interval": entry["interval"] and [bound + offset for bound in entry["interval"]],
            }
            for name, entry in (scores or {}).items()
        }
        folder.add_event(epoch(number, val_loss + (epochs - number) / 10, epoch_scores))
    folder.write_json("environment.json", ENVIRONMENT)
    folder.set_status(status, "" if status == "finished" else f"it was {status}")
    return folder.path


def evaluated(run: Path, value: float, step: int = 20, metric: str = "fd_cnn", **settings: object) -> None:
    """Add the event of `ddpmx evaluate`, value ± 0.1; settings that are not given are those of the spec."""
    folder = RunFolder(run)
    spec = folder.spec_data()
    own = spec["evaluate"]
    event = {"event": "evaluate", "epoch": step // 10, "step": step, "samples": own["samples"]}
    event |= {"seed": own["seed"], "sampler": own["sampler"], "weights": spec["weights"], **settings}
    details = score(value, n=event["samples"], seed=event["seed"])
    folder.add_event({**event, "metrics": {metric: value}, "scores": {metric: details}})


def add_grids(run: Path, epochs: int, seed: int, images: int = 16, size: int = 8, channels: int = 1) -> None:
    """Add a grid for each epoch, a final grid and a denoising strip, with random tiles from the seed."""
    generator = torch.Generator().manual_seed(seed)

    def tiles(n: int) -> torch.Tensor:
        return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)

    for number in range(1, epochs + 1):
        grid(tiles(images)).save(run / "samples" / f"epoch-{number:04d}.png")
    grid(tiles(images)).save(run / "samples" / "final.png")
    grid(tiles(80), columns=10).save(run / "samples" / "denoising.png")
