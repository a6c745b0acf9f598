"""No pickle is ever loaded: the sources load none, and a malicious one in place of any file that is read does
not run."""

from __future__ import annotations

import ast
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import TINY, Result
from PIL import Image

from ddpmx.files import cache_root
from ddpmx.spec.loading import load
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder
from ddpmx.training.experiment import build, choose_device
from ddpmx.training.state import TrainState, prepare

Run = Callable[..., Result]
PACKAGE = Path(__file__).parents[1] / "ddpmx"
UNSAFE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
CODE = {"plugins/loading.py": 1, "exchange/export.py": 1}
"""The sources that run a plugin's code on purpose, and in how many places."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    yield from ((ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_the_sources_load_no_pickle_and_run_no_text(file: Path) -> None:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in UNSAFE
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in UNSAFE - {"yaml"}
        ):
            assert ast.unparse(node) == "pickle.UnpicklingError"
    used = list(calls(tree))
    for name, call in used:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name == "torch.load":
            assert given["weights_only"] == "True"
        assert name not in (
            "torch.hub.load",
            "torch.jit.load",
            "torch.package.PackageImporter",
            "np.load",
            "numpy.load",
            "eval",
        )
        assert {"allow_pickle", "trust_remote_code"}.isdisjoint(given)
        if name == "YAML":
            assert given["typ"] in ("'rt'", "'safe'")
            assert given["pure"] == "True"
    assert sum(name == "exec" for name, _ in used) == CODE.get(str(file.relative_to(PACKAGE)), 0)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def pickles(marker: Path, tmp_path: Path) -> dict[str, bytes]:
    """The same attack as a bare pickle, and as torch.save and numpy.savez write it."""

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    torch.save({"weight": Attack()}, tmp_path / "attack.pt")
    with zipfile.ZipFile(tmp_path / "attack.npz", "w") as archive, archive.open("a.npy", "w") as entry:
        np.lib.format.write_array(entry, np.array([Attack()], dtype=object), allow_pickle=True)  # type: ignore[no-untyped-call]
    return {
        "pickle": pickle.dumps(Attack(), protocol=2),
        "torch": (tmp_path / "attack.pt").read_bytes(),
        "numpy": (tmp_path / "attack.npz").read_bytes(),
    }


@pytest.fixture(params=["pickle", "torch", "numpy"])
def attack(request: pytest.FixtureRequest, pickles: dict[str, bytes], marker: Path) -> bytes:
    content = pickles[request.param]
    if request.param == "pickle":
        pickle.loads(content)  # the attack would work
        marker.unlink()
    return content


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Path:
    spec = load(tiny)
    folder = RunFolder.create(tmp_path / "runs", spec)
    checkpoint.save(
        folder.checkpoints, TrainState(step=1, epoch=1), prepare(build(spec, choose_device("cpu")))
    )
    folder.set_status("interrupted", step=1)
    return folder.path


def refused(result: Result, marker: Path, codes: tuple[int, ...] = (2,)) -> None:
    assert result.code in codes, result.err
    assert "Traceback" not in result.err
    assert not marker.exists()


def test_in_weights(ddpmx: Run, run: Path, tiny: Path, tmp_path: Path, marker: Path, attack: bytes) -> None:
    for suffix in ("safetensors", "pt", "bin"):
        file = tmp_path / f"weights.{suffix}"
        file.write_bytes(attack)
        refused(ddpmx("sample", run, "-n", "1", "--weights", file, "--out", tmp_path / "a.png"), marker)
        refused(ddpmx("run", tiny, "-s", f"train.init_from={file}", "--out", tmp_path / "other"), marker)


def test_in_a_checkpoint(
    ddpmx: Run, run: Path, tiny: Path, tmp_path: Path, marker: Path, attack: bytes
) -> None:
    for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        (run / "checkpoints" / "1" / name).write_bytes(attack)
    refused(ddpmx("sample", run, "-n", "1", "--out", tmp_path / "a.png"), marker)
    result = ddpmx(
        "run", tiny, "--run", run, "--out", tmp_path / "runs"
    )  # fails, or loads another checkpoint
    refused(result, marker, codes=(0, 1))


def test_in_the_caches(
    ddpmx: Run, tmp_path: Path, marker: Path, attack: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    for k in range(8):
        Image.fromarray(np.full((8, 8), 30 * k, np.uint8)).save(tmp_path / "set" / f"{k}.png")
    spec = tmp_path / "s.yaml"
    spec.write_text(TINY.replace("dataset: digits", "dataset: {name: image_folder, path: set}"))
    build(load(spec), choose_device("cpu"))
    (file,) = (cache_root() / "data").iterdir()
    file.write_bytes(attack)
    assert len(build(load(spec), choose_device("cpu")).data.train) == 8 - 1  # decoded again
    assert not marker.exists()


def test_in_data(ddpmx: Run, tiny: Path, tmp_path: Path, marker: Path, attack: bytes) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(attack)
    (tmp_path / "rows.parquet").write_bytes(attack)
    (tmp_path / "cells").mkdir()
    pq.write_table(
        pa.table({"image": [{"bytes": attack, "path": None}]}), tmp_path / "cells" / "train.parquet"
    )
    for data in (
        "{name: image_folder, path: pictures}",
        "{name: parquet, path: rows.parquet}",
        "{name: parquet, path: cells}",
    ):
        tiny.write_text(TINY.replace("dataset: digits", f"dataset: {data}"))
        refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), marker)


def test_in_the_types_of_a_parquet_file(
    ddpmx: Run, tiny: Path, tmp_path: Path, marker: Path, pickles: dict[str, bytes]
) -> None:
    """Arrow's Python extension types used to be pickles (CVE-2023-47248)."""
    names = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickles["pickle"],
    }
    field = pa.field("image", pa.binary(), metadata=names)
    pq.write_table(pa.table([pa.array([b"x"])], schema=pa.schema([field])), tmp_path / "rows.parquet")
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: parquet, path: rows.parquet}"))
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), marker)


def test_a_script_beside_the_data_does_not_run(ddpmx: Run, tiny: Path, tmp_path: Path, marker: Path) -> None:
    """Data sets on the Hub used to come with loading scripts, named like their folder."""
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "things.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    tiny.write_text(TINY.replace("dataset: digits", "dataset: {name: parquet, path: things}"))
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), marker)


def test_in_an_imported_pipeline(ddpmx: Run, tmp_path: Path, marker: Path, attack: bytes) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        8,
        1,
        1,
        block_out_channels=(8, 8),
        down_block_types=["DownBlock2D"] * 2,
        up_block_types=["UpBlock2D"] * 2,
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler(10)).save_pretrained(tmp_path / "pipeline")
    weights = tmp_path / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    for file in (weights, weights.with_suffix(".bin")):
        weights.unlink(missing_ok=True)
        file.write_bytes(attack)
        refused(ddpmx("import", tmp_path / "pipeline", "--out", tmp_path / "runs"), marker)
