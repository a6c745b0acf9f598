"""Broken and hostile diffusers folders.

Errors name the file and the key, nothing large is built, and nothing incomplete is left behind.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from safetensors.torch import load_file, save_file

from ddpmx.process import memory

pytest.importorskip("diffusers")

from diffusers_folders import INDEX, SCHEDULER, UNET, WEIGHTS, sound

Ddpmx = Callable[..., Result]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


@pytest.fixture
def refused(ddpmx: Ddpmx, folder: Path) -> Callable[[], str]:
    """Import the folder, check that it is refused in short lines without a traceback, and return them."""

    def run() -> str:
        result = ddpmx("import", folder, "--out", folder.with_name("runs"))
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert all(line.isprintable() and len(line) < 1000 for line in result.err.splitlines())
        assert not folder.with_name("runs").exists()
        return result.err

    return run


def test_parts_without_folders_of_their_own(ddpmx: Ddpmx, folder: Path) -> None:
    run = ddpmx("import", folder, "--name", "deep", "--out", folder.with_name("runs")).out.splitlines()[0]
    for name in (UNET, SCHEDULER, WEIGHTS):
        (folder / name).rename(folder / Path(name).name)
    for name in (UNET, SCHEDULER):
        (folder / name).parent.rmdir()
    flat = ddpmx("import", folder, "--name", "flat", "--out", folder.with_name("runs")).out.splitlines()[0]
    first, second = (
        load_file(Path(run) / "checkpoints" / "best" / "model.safetensors") for run in (run, flat)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def change(folder: Path, file: str, **changes: Any) -> None:
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        *(
            (UNET, "block_out_channels", value)
            for value in ([], [0, 8], [-8, 8], [8.5, 8], ["8", 8], 8, "8", None, [8] * 13, [10**30, 8])
        ),
        *((UNET, "block_out_channels", value) for value in ([[8], 8], [8, 60_000], [8])),
        *((UNET, "layers_per_block", value) for value in (-1, 10**9, 2.5, "1", True, None, [1])),
        *((UNET, "norm_num_groups", value) for value in (0, -4, 3, "4", 10**12)),
        *(
            (UNET, "down_block_types", value)
            for value in ("DownBlock2D", [], ["DownBlock2D"], [1, 2], ["CrossAttnDownBlock2D"] * 2)
        ),
        *((UNET, "sample_size", value) for value in (0, -8, 7, 10**9, True, "8", [8, 8], None)),
        *((UNET, "in_channels", value) for value in (0, 10**9, "1", None)),
        *((UNET, "_class_name", value) for value in (None, ["UNet2DModel"], "x" * 10**6, "\x1b[2J")),
        *((UNET, "attention_head_dim", value) for value in (0, -8, 10**6, "8")),
        *((UNET, "freq_shift", value) for value in (4, float("nan"), 10**400, "0")),
        *((UNET, "mid_block_scale_factor", value) for value in (0, float("inf"))),
        *((UNET, "time_embedding_type", value) for value in ("fourier", "learned", 3)),
        *((UNET, "act_fn", value) for value in ("swish2", 3)),
        *((SCHEDULER, "num_train_timesteps", value) for value in (0, -1, 10**9, 20.5, "20", None)),
        *(
            (SCHEDULER, "trained_betas", value)
            for value in ([0.1], [0.1] * 21, [float("nan")] * 20, [0.0] * 20, [1.0] * 20, ["x"] * 20)
        ),
        *((SCHEDULER, "trained_betas", value) for value in ([2.0] * 20, 0.1, {"a": 1}, [[0.1]] * 20)),
        *((SCHEDULER, "beta_start", value) for value in (0, -1, 2, float("nan"), "0.1", None)),
        *((SCHEDULER, "clip_sample_range", value) for value in (0, -1, None, float("inf"), "1")),
        *((SCHEDULER, "prediction_type", value) for value in ("flow", None, 3, ["epsilon"])),
        *((SCHEDULER, "timestep_spacing", value) for value in ("random", 3)),
        *((SCHEDULER, "_class_name", value) for value in ("PNDMScheduler", None, 3)),
        *(
            (INDEX, "unet", value)
            for value in (["network", "UNet2DModel"], ["diffusers", "UNet2DConditionModel"])
        ),
        (INDEX, "vqvae", ["diffusers", "VQModel"]),
        (INDEX, "scheduler", ["diffusers", "DDIMScheduler"]),
    ],
)
def test_an_impossible_value_is_named(
    folder: Path, refused: Callable[[], str], file: str, key: str, value: Any
) -> None:
    change(folder, file, **{key: value})
    error = refused()
    assert str(folder / file) in error or (str(folder / WEIGHTS) in error and "config.json" in error)
    assert (
        key in error
        or "config: UNet2DModel does not work with this configuration" in error
        or ".weight" in error
        or "schedule" in error
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"3",
        b"\xff",
        b"[" * 10**6,
        b'{"a": ' * 10**6,
        b"{" + b" " * 51_000_000,
        b'{"sample_size": NaN}',
    ],
)
@pytest.mark.parametrize("file", [UNET, SCHEDULER, INDEX])
def test_json_that_is_no_configuration(
    folder: Path, refused: Callable[[], str], file: str, content: bytes
) -> None:
    if file == INDEX and content == b'{"sample_size": NaN}':
        pytest.skip("an index may contain options of its pipeline")
    (folder / file).write_bytes(content)
    assert str(folder / file) in refused()


@pytest.mark.parametrize("file", [UNET, SCHEDULER, INDEX, WEIGHTS])
@pytest.mark.parametrize("kind", ["folder", "pipe", "/dev/zero", "/nonexistent", "itself"])
def test_a_path_that_is_no_file(folder: Path, refused: Callable[[], str], file: str, kind: str) -> None:
    path = folder / file
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "itself" else kind)
    assert str(path) in refused()


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], pickled: bool) -> Path:
    """Replace the weights by `change(weights)` and return their file."""
    file = folder / WEIGHTS
    changed = change(load_file(file))
    file.unlink()
    if not pickled:
        save_file(changed, file)
        return file
    torch.save(changed, file.with_suffix(".bin"))
    return file.with_suffix(".bin")


FIRST = "conv_in.bias"


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda weights: {name: weights[name] for name in weights if name != FIRST}, FIRST),
        (lambda weights: {**weights, "more": torch.ones(1)}, "more"),
        (lambda weights: {**weights, FIRST: torch.ones(3)}, FIRST),
        (lambda weights: {**weights, FIRST: weights[FIRST].long()}, FIRST),
        (lambda weights: {**weights, FIRST: weights[FIRST] * torch.nan}, FIRST),
        (lambda weights: {**weights, FIRST: weights[FIRST].to(torch.complex64)}, FIRST),
        (lambda weights: {}, "conv_in.weight"),
    ],
)
def test_weights_of_another_network(
    folder: Path,
    refused: Callable[[], str],
    changed: Callable[[dict[str, torch.Tensor]], Any],
    named: str,
    pickled: bool,
) -> None:
    file = weights(folder, changed, pickled)
    error = refused()
    assert str(file) in error
    assert named in error


@pytest.mark.parametrize(
    "changed",
    [
        lambda weights: list(weights.values()),
        lambda weights: {"state_dict": weights},
        lambda weights: {5: torch.ones(1)},
        lambda weights: {**weights, FIRST: torch.ones(1).expand(8)},
        lambda weights: {**weights, FIRST: weights[FIRST].to_sparse()},
        lambda weights: None,
        lambda weights: print,
    ],
)
def test_a_pickle_that_is_no_dictionary_of_plain_tensors(
    folder: Path, refused: Callable[[], str], changed: Callable[[Any], Any]
) -> None:
    assert str(weights(folder, changed, pickled=True)) in refused()


def test_both_names_of_an_attention_weight(folder: Path, refused: Callable[[], str]) -> None:
    name = "mid_block.attentions.0.to_q.weight"
    old = name.replace("to_q", "query")
    weights(folder, lambda weights: {**weights, old: 2 * weights[name]}, pickled=False)
    assert f"{WEIGHTS} has " in refused()


def test_a_network_larger_than_the_memory(
    folder: Path, refused: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "limit", lambda: 1000)
    monkeypatch.setattr(torch, "load", None)
    error = refused()
    assert "parameters, which need at least" in error
    assert "1 kB of memory" in error


def test_a_run_that_cannot_be_written_is_not_left(
    ddpmx: Ddpmx, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        assert (path / "checkpoints").is_dir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ddpmx.exchange.importing.write_report", full)
    result = ddpmx("import", folder, "--out", folder.with_name("runs"))
    assert result.code == 1
    assert "cannot be written: No space left on device" in result.err
    assert not list(folder.with_name("runs").iterdir())


@pytest.mark.parametrize(
    "path",
    [
        "nowhere",
        "x" * 300,
        "in/model_index.json",
        "in/unet/config.json/a",
        "~nobody-of-this-name/a",
        "in/unet",
    ],
)
def test_a_path_without_a_pipeline(
    ddpmx: Ddpmx, folder: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(folder.parent)
    result = ddpmx("import", path)
    assert result.code == 2
    assert path[:20] in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 300])
def test_a_name_that_no_run_can_have(ddpmx: Ddpmx, folder: Path, name: str) -> None:
    result = ddpmx("import", folder, "--name", name, "--out", folder.with_name("runs"))
    assert result.code == 2
    assert not folder.with_name("runs").exists()
