"""Folders of diffusers pipelines with faults that hypothesis generates.

For tests/exchange/test_import_fuzz.py and tools/fuzz_import.py.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
from hypothesis import strategies as st
from safetensors.torch import load

from ddpmx.errors import RunError, SpecError
from ddpmx.exchange.importing import import_pipeline
from ddpmx.runs.opening import open_run

UNET, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
PICKLED = "unet/diffusion_pytorch_model.bin"
SMALL = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
}
WORDS = [
    *(
        "UNet2DModel",
        "UNet2DConditionModel",
        "DDPMScheduler",
        "DDIMScheduler",
        "PNDMScheduler",
        "DDPMPipeline",
        "diffusers",
        "vqvae",
    ),
    *(
        "DownBlock2D",
        "AttnDownBlock2D",
        "SkipDownBlock2D",
        "AttnSkipDownBlock2D",
        "ResnetDownsampleBlock2D",
        "CrossAttnDownBlock2D",
    ),
    *("UpBlock2D", "AttnUpBlock2D", "SkipUpBlock2D", "DownEncoderBlock2D", "KDownBlock2D", "UNetMidBlock2D"),
    *(
        "fourier",
        "learned",
        "scale_shift",
        "ada_group",
        "resnet",
        "mish",
        "v_prediction",
        "sample",
        "trailing",
        "linspace",
        "custom",
    ),
    *("scaled_linear", "squaredcos_cap_v2", "fixed_large", "learned_range", "identity", "timestep"),
]
NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    64,
    1000,
    10**5,
    10**6,
    10**9,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    -1,
    -8,
    0.0,
    0.5,
    1.0,
    1e-30,
    1e300,
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.just("x" * 5000),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=2),
    max_leaves=6,
)
lists = st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=14) | st.lists(
    st.sampled_from(WORDS), min_size=1, max_size=14
)


class Files(dict[str, bytes]):
    """The content of each file, by its path in the folder."""

    def __repr__(self) -> str:  # hypothesis prints it
        return f"Files({', '.join(self)})"


Edit = Callable[[Files, Path], None]
"""A change to the files before they are written, or to the folder after they have been written."""


def sound(folder: Path) -> Files:
    """The files of a small pipeline, as diffusers writes them."""
    torch.manual_seed(0)
    diffusers.utils.logging.disable_progress_bar()
    unet = diffusers.UNet2DModel(**SMALL)
    diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler(20)).save_pretrained(folder)
    return Files(
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    )


def attempt(files: Files, edits: list[Edit], folder: Path) -> bool:
    """Whether the folder with these faults can be imported. Errors other than ddpmx's, and incomplete runs,
    fail the test."""
    shutil.rmtree(folder, ignore_errors=True)
    files = Files(files)
    for edit in edits:
        edit(files, folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(folder / name):
            (folder / name).write_bytes(content)
    out = folder.with_name("runs")
    try:
        run = import_pipeline(folder, name="there", out=out)
    except (SpecError, RunError) as error:
        text = str(error)
        assert str(folder) in text
        assert all(line.isprintable() and len(line) < 1000 for line in text.split("\n"))
        assert not list(out.glob("*/*"))
        return False
    try:
        opened = open_run(run, (), torch.device("cpu"), "best")
        spec, experiment = opened.spec, opened.experiment
        shape = (2, spec.dataset.channels, spec.dataset.size, spec.dataset.size)
        if shape[-1] <= 16:
            with torch.no_grad():
                drawn = experiment.output(experiment.network.eval(), torch.zeros(shape), torch.zeros(2))
            assert drawn.shape == shape
            largest = max(
                float(parameter.detach().abs().max()) for parameter in experiment.network.parameters()
            )
            assert drawn.isfinite().all() or largest > 1e3  # a damaged byte can make a weight huge
    finally:
        shutil.rmtree(out)
    return True


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) inside the data, at any depth."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from places(data[key])


@st.composite
def changed_json(draw: st.DrawFn, files: Files) -> Edit:
    """A changed value, key or structure in one of the configurations."""
    name = draw(st.sampled_from([UNET, UNET, SCHEDULER, SCHEDULER, INDEX]))
    key = draw(st.sampled_from([key for _, key in places(json.loads(files[name]))]))
    value, kind = draw(values | lists), draw(st.sampled_from(["value", "value", "value", "remove", "key"]))

    def edit(files: Files, folder: Path) -> None:
        try:
            data = json.loads(files.get(name, b"{}"))
        except (ValueError, RecursionError):  # damaged by an earlier edit
            return
        for owner, found in places(data):
            if found == key:
                if kind == "value":
                    owner[found] = value
                elif kind == "key" and isinstance(owner, dict):
                    owner["x"] = owner.pop(found)
                else:
                    del owner[found]
                break
        files[name] = json.dumps(data).encode()

    return edit


@st.composite
def changed_text(draw: st.DrawFn, files: Files) -> Edit:
    """Cut and spliced bytes in one of the configurations or weights."""
    name = draw(st.sampled_from([UNET, SCHEDULER, INDEX, WEIGHTS]))
    at, cut = draw(st.integers(0, min(4000, len(files[name])))), draw(st.integers(0, 30))
    piece = draw(
        st.sampled_from([b"", b"[" * 100_000, b"NaN", b"-Infinity", b"\xff", b"\0", b'"', b"{", b"1e999"])
        | st.binary(max_size=9)
    )

    def edit(files: Files, folder: Path) -> None:
        content = files.get(name, b"")
        files[name] = content[:at] + piece + content[at + cut :]

    return edit


@st.composite
def changed_header(draw: st.DrawFn, files: Files) -> Edit:
    """A changed header of a safetensors file, whose stated length is right or wrong."""
    names = sorted(json.loads(_split(files[WEIGHTS])[0]))
    name, other = draw(st.sampled_from(names)), draw(st.sampled_from(["", "x", "a\x1b[2J.b", names[-1]]))
    kind = draw(st.sampled_from(["shape", "dtype", "data_offsets", "remove", "rename", "length", "add"]))
    value = draw(lists | st.sampled_from(["I64", "F16", "BF16", "F64", "F8_E4M3", "BOOL", "C64"]))
    length = draw(st.sampled_from([0, 1, 10**3, 10**8, 2**63, 2**64 - 1]))

    def edit(files: Files, folder: Path) -> None:
        if len(files.get(WEIGHTS, b"")) < 8:
            return
        text, data = _split(files[WEIGHTS])
        try:
            header = json.loads(text)
            entry = header[name]
            if kind == "remove":
                del header[name]
            elif kind == "rename":
                header[other] = header.pop(name)
            elif kind == "add":
                header[other] = {**entry, "shape": [0], "data_offsets": [len(data), len(data)]}
            else:
                entry[kind] = value
        except (ValueError, KeyError, TypeError):  # damaged by an earlier edit
            return
        text = json.dumps(header).encode()
        files[WEIGHTS] = struct.pack("<Q", length if kind == "length" else len(text)) + text + data

    return edit


def _split(content: bytes) -> tuple[bytes, bytes]:
    end = 8 + int(struct.unpack("<Q", content[:8])[0])
    return content[8:end], content[end:]


OBJECTS: list[Callable[[dict[str, torch.Tensor]], Any]] = [
    lambda weights: weights,
    lambda weights: list(weights.values()),
    lambda weights: {"state_dict": weights},
    lambda weights: {**weights, "step": 3},
    lambda weights: {**weights, 5: torch.ones(1)},
    lambda weights: {name: tensor.half() for name, tensor in weights.items()},
    lambda weights: {name: tensor.long() for name, tensor in weights.items()},
    lambda weights: {name: tensor.to_sparse() for name, tensor in weights.items()},
    lambda weights: {name: torch.ones(1).expand(tensor.shape) for name, tensor in weights.items()},
    lambda weights: {name: tensor * float("nan") for name, tensor in weights.items()},
    lambda weights: {name: tensor.to(torch.complex64) for name, tensor in weights.items()},
    lambda weights: {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
    lambda weights: {name.replace("to_q", "query"): tensor for name, tensor in weights.items()},
    lambda weights: next(iter(weights.values())),
    lambda weights: print,
    lambda weights: None,
]


@st.composite
def pickled(draw: st.DrawFn, files: Files) -> Edit:
    """A file of torch.save instead of safetensors, perhaps damaged."""
    change, zipped = draw(st.sampled_from(OBJECTS)), draw(st.booleans())
    at, piece = (
        draw(st.floats(0, 1)),
        draw(st.sampled_from([b"", b"", b"", b"\0", b"\xff\xff\xff\xff", b"R"])),
    )
    cut = draw(st.sampled_from([0, 0, 1, 4, 100, 10**9]))
    weights = load(files[WEIGHTS])

    def edit(files: Files, folder: Path) -> None:
        file = folder.with_name("saved.bin")
        torch.save(change(weights), file, _use_new_zipfile_serialization=zipped)
        data = file.read_bytes()
        start = int(at * len(data))
        files.pop(WEIGHTS, None)
        files[PICKLED] = data[:start] + piece + data[start + (cut or len(piece)) :]

    return edit


@st.composite
def other_files(draw: st.DrawFn, files: Files) -> Edit:
    """A folder, a pipe, a link or nothing in place of a file."""
    name = draw(st.sampled_from([UNET, SCHEDULER, INDEX, WEIGHTS]))
    kind = draw(
        st.sampled_from(
            ["missing", "folder", "pipe", "/dev/zero", "/dev/null", "/nonexistent", name.rpartition("/")[2]]
        )
    )

    def edit(files: Files, folder: Path) -> None:
        files.pop(name, None)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) or kind == "missing":
            return
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(kind)

    return edit


def edits(files: Files) -> st.SearchStrategy[list[Edit]]:
    """One to three faults."""
    one = st.one_of(
        changed_json(files),
        changed_json(files),
        changed_text(files),
        changed_header(files),
        pickled(files),
        other_files(files),
    )
    return st.lists(one, min_size=1, max_size=3)
