"""The weights of a network in a diffusers folder: first names and shapes, to know the size, then numbers."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import SpecError
from ..files import open_regular
from ..process import memory
from ..text import shortened

NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""The names of a weights file; the first one that exists is read."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""The data types of safetensors that can be imported."""
MAX_PICKLE = 50_000_000
"""The largest pickle in bytes, each of which may be an instruction."""


@dataclass(frozen=True)
class Weights:
    """The floating point tensors in a file."""

    file: Path
    """The path of the file."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each tensor."""
    read: Callable[[str], Tensor]
    """Reads the tensor of a name."""

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Raise SpecError at the first tensor that is missing, has another shape or is not expected."""
        for name, shape in expected.items():
            if name not in self.shapes:
                raise SpecError(f"{self.file} has no tensor {name}, but the network of its config.json does")
            if self.shapes[name] != shape:
                raise SpecError(
                    f"{self.file}: {name} has the shape {shortened(str(list(self.shapes[name])))},"
                    f" but {list(shape)} in the network of its config.json"
                )
        extra = [name for name in self.shapes if name not in expected]
        if extra:
            count = f" and {len(extra) - 1:,} more" if extra[1:] else ""
            raise SpecError(
                f"{self.file} has {shortened(extra[0])}{count}, but the network of its config.json does not"
            )

    def fill(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        """Copy the file's tensors into a network's. `names` maps the network's names to the file's.

        Raises SpecError if a tensor cannot be read, or is not finite.
        """
        with torch.no_grad():
            for name, tensor in tensors.items():
                with _readable(self.file):
                    tensor.copy_(self.read(names[name]))
                if not bool(tensor.isfinite().all()):
                    raise SpecError(f"{self.file}: {names[name]} has values that are not finite")


@contextmanager
def weights_in(folder: Path) -> Iterator[Weights]:
    """The weights in a network's folder: safetensors, or a file of torch.save.

    Only tensors are unpickled from the latter.
    """
    file = next((folder / name for name in NAMES if os.path.lexists(folder / name)), None)
    if file is None:
        raise SpecError(
            f"{folder} has no weights",
            hint=f"expected {' or '.join(NAMES)}; shards and variants are not read{_others(folder)}",
        )
    open_regular(file).close()
    with ExitStack() as stack:
        yield _safetensors(file, stack) if file.suffix == ".safetensors" else _pickled(file)


def _others(folder: Path) -> str:
    """An example of weights in the folder with another name, for a message."""
    try:
        others = sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix in (".safetensors", ".bin") or ".index." in path.name
        )
    except OSError:  # no such folder, which the message already says
        others = []
    return f", such as {shortened(others[0])}" if others else ""


def _safetensors(file: Path, stack: ExitStack) -> Weights:
    with _readable(file):
        content = stack.enter_context(safe_open(file, "pt"))
        slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118 (no mapping)
        kinds = {name: part.get_dtype() for name, part in slices.items()}
        shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    for name, kind in kinds.items():
        if kind not in FLOATS:
            raise SpecError(f"{file}: {shortened(name)} is {shortened(kind)}, not one of {', '.join(FLOATS)}")
    return Weights(file, shapes, content.get_tensor)


def _pickled(file: Path) -> Weights:
    _check_pickle(file)
    with _readable(file), warnings.catch_warnings(action="ignore"):  # about files that are refused below
        content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise SpecError(
            f"the weights {file} should be a dictionary of tensors, not a {type(content).__name__}"
        )
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise SpecError(
                f"the weights {file} contain more than tensors:"
                f" {shortened(str(name))} is a {type(tensor).__name__}"
            )
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.is_floating_point()
        if not plain or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise SpecError(f"{file}: {shortened(name)} is not a plain tensor of floating point numbers")
    return Weights(file, {name: tuple(tensor.shape) for name, tensor in content.items()}, content.__getitem__)


def _check_pickle(file: Path) -> None:
    """Raise SpecError if reading the file would take far more memory or time than its size suggests."""
    with open_regular(file) as opened, _readable(file):
        pickle = size = file.stat().st_size
        # An archive; older files of torch are one pickle.
        if opened.read(4) == b"PK\x03\x04":
            entries = zipfile.ZipFile(opened).infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > size:  # torch.save does not compress
                raise SpecError(
                    f"{file} unpacks to {memory.amount(unpacked)}, but has only {memory.amount(size)}"
                )
            pickle = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if size > memory.limit():
        raise SpecError(
            f"{file} needs {memory.amount(size)} of memory, but the limit is {memory.amount(memory.limit())}"
        )
    if pickle > MAX_PICKLE:
        raise SpecError(
            f"{file} has a pickle of {memory.amount(pickle)}, more than {memory.amount(MAX_PICKLE)}"
        )


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn the exceptions that libraries raise for a damaged file into a SpecError that names the file."""
    try:
        yield
    except SpecError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise SpecError(
            f"the weights {file} cannot be read: "
            + shortened(str(error).splitlines()[0] if str(error) else repr(error))
        ) from None
    except Exception as error:  # pickle raises many kinds, such as UnpicklingError
        raise SpecError(
            f"the weights {file} contain more than tensors, or are damaged: {type(error).__name__}"
        ) from None
