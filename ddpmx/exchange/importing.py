"""`ddpmx import`: a pipeline of images that diffusers saved becomes a run's folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .. import checkpoint, environment, ops
from ..errors import SpecError
from ..experiment import build
from ..models.diffusers_unet import OURS
from ..registry import spec_error
from ..report import write_report
from ..run_folder import RunFolder
from ..spec import Spec
from ..train import TrainState, prepare
from .schedulers import from_scheduler
from .unet import from_config, modern, renamed, translate

NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


def import_pipeline(folder: Path, *, name: str | None, out: Path) -> Path:
    """A finished run with the folder's network, schedule and sampler; returns the run's folder.

    The network becomes a `ddpm_unet` where that is the same, and a `diffusers_unet` elsewhere. Its training images are
    not known: `sample` and `export` work, `evaluate` needs a data set of the same shape. Raises SpecError that names the
    file and the field which cannot be imported, before anything is written.
    """
    unet = _read(folder / "unet" / "config.json")
    with _in(folder / "unet" / "config.json"):
        model, shape = _model(unet)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    with _in(scheduler):
        blocks = from_scheduler(_read(scheduler))
    title = name or re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name).lstrip(".")
    rest = {"train": {"ema": None}}  # the folder has one set of weights
    try:
        spec = Spec.model_validate({"name": title, "dataset": {"name": "no_images", **shape}, "model": model, **blocks, **rest})
    except ValidationError as error:
        raise spec_error(error) from None
    experiment = build(spec, torch.device("cpu"))
    weights = _weights(folder / "unet")
    if model["name"] == "ddpm_unet":
        weights = translate(modern(weights), {theirs: ours for ours, theirs in renamed(spec.model).items()})
    else:
        weights = {f"unet.{key}": value for key, value in modern(weights).items()}
    try:
        experiment.network.load_state_dict(weights)
    except RuntimeError as error:
        raise SpecError(f"the weights in {folder / 'unet'} do not fit its config.json: {' '.join(str(error).split())[:300]}") from None
    run = RunFolder.create(out, spec)
    checkpoint.save(run.checkpoints, TrainState(), prepare(experiment))
    described = environment.describe(experiment.device, ops.active(experiment.device))
    source = {"imported_from": str(folder.resolve()), "data": {"name": "no_images"}, "parameters": experiment.parameters}
    run.write_json("environment.json", {**described, **source})
    run.set_status("finished", f"imported from {folder}", epoch=0, step=0, seconds=0)
    write_report(run.path)
    return run.path


def _model(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The blocks `model`, and the shape of the images."""
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise SpecError(
            f"{kind!r} cannot be imported", field="_class_name", hint="valid: UNet2DModel, of pipelines that draw images from noise alone"
        )
    channels, size = config.get("in_channels", 3), config.get("sample_size")
    if not isinstance(size, int):
        raise SpecError(f"should be the side of square images, not {size}", field="sample_size")
    for field in ("num_class_embeds", "class_embed_type"):
        if config.get(field) is not None:
            raise SpecError("networks that are told classes cannot be imported", field=field)
    if config.get("out_channels", channels) != channels:
        raise SpecError(f"should be in_channels, {channels}: a learned variance cannot be imported", field="out_channels")
    shape = {"channels": channels, "size": size}
    try:
        return from_config(config).spec(), shape
    except SpecError as difference:
        return _diffusers_unet(config, difference), shape


def _diffusers_unet(config: Mapping[str, Any], difference: SpecError) -> dict[str, Any]:
    """The block of diffusers' own network. Raises SpecError, why it is needed, where diffusers is not installed."""
    try:
        import diffusers
    except ImportError:
        hint = "pip install 'ddpmx[diffusers]' brings diffusers' own network"
        raise SpecError(difference.message, field=difference.field, hint=hint) from None
    known = set(diffusers.UNet2DModel._get_init_keys(diffusers.UNet2DModel))
    return {"name": "diffusers_unet", "config": {key: value for key, value in config.items() if key in known and key not in OURS}}


def _weights(folder: Path) -> dict[str, Tensor]:
    """The network's weights: safetensors, or a file of torch.save, of which only tensors are unpickled."""
    file = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if file is None:
        raise SpecError(f"{folder} has no weights", hint=f"one of {', '.join(NAMES)}; shards and variants are not read")
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise SpecError(f"the weights {file} cannot be read: {str(error).splitlines()[0]}") from None
    except Exception as error:  # pickle's own errors, UnpicklingError among them
        raise SpecError(f"the weights {file} hold more than tensors, or are damaged: {type(error).__name__}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "a pipeline's folder has model_index.json, unet/ and scheduler/"
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except ValueError as error:
        raise SpecError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path} should hold a mapping")
    return content


@contextmanager
def _in(path: Path) -> Iterator[None]:
    """Put the file in front of a SpecError's message."""
    try:
        yield
    except SpecError as error:
        raise SpecError(error.message, field=f"{path}: {error.field}" if error.field else str(path), hint=error.hint) from None
