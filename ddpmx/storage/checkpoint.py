"""Checkpoints: `checkpoints/<step>/`, in safetensors and JSON only, so that loading never unpickles anything.

    model.safetensors      the network's weights and buffers
    ema.safetensors        their moving average, if the run keeps one: the one that samples and metrics use
    ema-1.safetensors      further moving averages, if the run keeps several
    weighting.safetensors  the parameters of a learned loss weighting, if there is one
    time.safetensors       the loss statistics of a timestep sampler that adapts to them, if there is one
    optimizer.safetensors  one tensor `<parameter index>.<name>` for each tensor in the optimizer's state
    state.json             counters, the optimizer's other values, and checksums of all files (`manifest.py`)

A checkpoint is written whole or not at all. `last` and `best` each point to one (`checkpoint_folder.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import RunError, SpecError
from ..files import expanded, kind, open_regular
from ..process import out_of_memory
from ..text import shortened
from ..times import TimeState
from ..training.events import Row, first_problem, parse
from ..training.state import Trained, TrainState
from . import manifest
from .checkpoint_folder import find, set_links, sync
from .folder import checkpoints_of
from .misfit import misfit
from .sealed import staged


def save(folder: Path, state: TrainState, trained: Trained) -> Path:
    """Write the checkpoint `folder/<step>`, point `last` to it and `best` to the best one; returns its path.

    It is written under a temporary name and then renamed. Raises RunError or OSError if that fails; earlier
    checkpoints stay intact.
    """
    target = folder / str(state.step)
    tensors, plain = _flatten(trained.optimizer)
    parts = {name: part.state_dict() for name, part in _parts(trained).items()} | {"optimizer": tensors}
    with staged(target, parts, {"train": asdict(state), "optimizer": plain}) as temporary:
        if target.exists():
            # The run stopped here and then finished, or was rolled back to here: same weights, new counters.
            (temporary / manifest.STATE).replace(target / manifest.STATE)
            sync(target)
        else:
            temporary.rename(target)
    best = (
        state.step if state.best_step == -1 else state.best_step
    )  # no best yet: the newest one counts as it
    set_links(folder, state.step, best)
    return target


def load(checkpoint: Path, trained: Trained) -> TrainState:
    """Load a checkpoint into all that is trained; returns the counters. Raises RunError if it is damaged."""
    manifest.verify(checkpoint)
    try:
        content = manifest.read(checkpoint)
        for name, part in _parts(trained).items():
            _fill(part, load_file(checkpoint / f"{name}.safetensors"))
        _unflatten(trained.optimizer, load_file(checkpoint / "optimizer.safetensors"), content["optimizer"])
        return _counters(content["train"], checkpoint)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the checkpoint {checkpoint} cannot be read: {error}") from error


def counters(checkpoint: Path) -> TrainState:
    """The counters of a checkpoint, without its weights. Raises RunError if they are damaged."""
    return _counters(manifest.read(checkpoint)["train"], checkpoint)


@cache
def _adapters() -> tuple[TypeAdapter[TrainState], TypeAdapter[Row]]:
    return TypeAdapter(TrainState), TypeAdapter(Row)


def _counters(content: dict[str, Any], checkpoint: Path) -> TrainState:
    """The counters as they stand in the file. Raises RunError if a type is wrong."""
    file = checkpoint / manifest.STATE
    state_adapter, row_adapter = _adapters()
    try:
        state_adapter.validate_json(json.dumps(content))
        if content.get("row"):
            row_adapter.validate_json(json.dumps(content["row"]))
        for event in content.get("rollbacks", ()):
            parse(json.dumps(event).encode())
    except ValidationError as error:
        raise RunError(
            f"{file} is damaged, or was written by another version: {first_problem(error)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error}") from None
    return TrainState(**content)


def _parts(trained: Trained) -> dict[str, nn.Module | TimeState]:
    """The parts whose `state_dict` is stored in `<name>.safetensors`, by name.

    The optimizer's state has to be flattened first.
    """
    parts = {
        "model": trained.network,
        **({} if trained.ema is None else trained.ema.named()),
        "weighting": trained.weighting,
        "time": trained.time,
    }
    return {name: part for name, part in parts.items() if part is not None}


def weights_file(run: Path, which: str) -> Path:
    """The safetensors file to sample from: of `best` or `last` (EMA weights, if any), or at a given path.

    Raises SpecError if there is no such checkpoint or file.
    """
    if which not in ("best", "last"):
        return find_weights(expanded(which))
    folder = find(checkpoints_of(run), which)
    if folder is None:
        raise SpecError(f"{run} has no checkpoint '{which}' yet")
    averaged = folder / "ema.safetensors"
    return averaged if averaged.exists() else folder / "model.safetensors"


def find_weights(source: Path) -> Path:
    """The file `source`, or the best weights of the run in that folder.

    Raises SpecError for anything else.
    """
    what = kind(source)
    if what == "folder":
        return weights_file(source, "best")
    if what == "other":
        raise SpecError(f"{shortened(str(source))} is a pipe or a device, not a weights file")
    if what == "missing":
        raise SpecError(f"no such run or weights file: {shortened(str(source))}")
    return source


def load_weights(network: nn.Module, file: Path) -> None:
    """Load weights into the network. Raises SpecError if the file is damaged or does not fit the network."""
    try:
        open_regular(file).close()
        if (file.parent / manifest.STATE).exists():
            manifest.verify(file.parent, file.name)
        _fill(network, load_file(file))
    except RunError as error:
        raise SpecError(
            str(error), hint="--weights takes others: last, or the file of an earlier checkpoint"
        ) from None
    except ValueError as error:
        raise SpecError(f"the weights {file} do not fit this network: {error}") from None
    except (SafetensorError, RuntimeError, OSError) as error:
        if out_of_memory.caused(error):
            raise
        raise SpecError(f"the weights {file} cannot be read: {str(error).splitlines()[0]}") from None


def _fill(part: nn.Module | TimeState, tensors: dict[str, Tensor]) -> None:
    """Replace a part's tensors. Raises ValueError if names or shapes differ."""
    difference = misfit(tensors, part.state_dict())
    if difference:
        raise ValueError(difference)
    part.load_state_dict(tensors)


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The optimizer's state as (tensors, other values), each keyed `<parameter index>.<name>`."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, object] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{index}.{name}"] = value
    return tensors, plain


def _unflatten(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, object]
) -> None:
    state: dict[int, dict[str, object]] = {}
    for key, value in {**tensors, **plain}.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
