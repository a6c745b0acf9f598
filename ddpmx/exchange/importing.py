"""`ddpmx import`: a run's folder made of an image pipeline that diffusers saved."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from pydantic import ValidationError

from .. import ops
from ..components.in_words import spec_error
from ..errors import SpecError
from ..files import expanded
from ..models import Model
from ..models.ddpm_unet import DdpmUnet
from ..models.diffusers_unet import SET_BY_DATA
from ..models.size import check_memory
from ..outputs import cannot_write
from ..pages.report import write_report
from ..runs import environment
from ..spec.checks import check
from ..spec.schema import Spec
from ..storage import checkpoint
from ..storage.folder import RunFolder
from ..text import shortened
from ..training.experiment import Experiment, build
from ..training.state import TrainState, prepare
from .configs import PARTS, UNET, ImageUnetConfig, check_index, inside, mapping, typed
from .export import CLASS
from .schedulers import from_scheduler
from .unet import from_config, modern, renamed, translate
from .weights import Weights, weights_in


def import_pipeline(folder: Path, *, name: str | None, out: Path) -> Path:
    """Make a finished run of the pipeline's network, schedule and sampler, and return the run's folder.

    The network becomes a `ddpm_unet` if that is the same network, otherwise a `diffusers_unet`. The training
    images are unknown, so `sample` and `export` work, and `evaluate` needs a data set of the same shape.
    Raises SpecError that names the file and the field that cannot be imported, before anything is written and
    before anything large is built.
    """
    folder, out = expanded(folder), expanded(out)
    if not os.path.isdir(folder):  # noqa: PTH112 (never raises, unlike Path.is_dir)
        raise SpecError(
            f"{shortened(str(folder))} is not a folder",
            hint="a pipeline's folder has model_index.json, unet/ and scheduler/",
        )
    unet, scheduler = (_config(folder, part) for part in PARTS)
    config = mapping(unet)
    with inside(unet):
        model, shape = _model(config)
    scheduling = mapping(scheduler)
    with inside(scheduler):
        blocks = from_scheduler(scheduling)
    check_index(folder, {"unet": UNET, "scheduler": scheduling["_class_name"]})
    spec = _spec(
        _title(folder) if name is None else name,
        {"dataset": {"name": "no_images", **shape}, "model": model, **blocks},
    )
    with inside(scheduler):
        check(spec)
    with weights_in(unet.parent) as weights:
        with inside(unet):
            names = _names(spec.model, shape, weights)
        experiment = build(spec, torch.device("cpu"))
        weights.fill(experiment.network.state_dict(), names)
    return _write(experiment, folder, out)


def _spec(title: str, blocks: Mapping[str, object]) -> Spec:
    try:
        # Without EMA, because the folder has one set of weights
        return Spec.model_validate({"name": title, **blocks, "train": {"ema": None}})
    except ValidationError as error:
        raise spec_error(error) from None


def _config(folder: Path, part: str) -> Path:
    """The path of the part's configuration.

    It is in the part's own folder, or beside the others, as in the first pipelines (google/ddpm-cifar10-32).
    """
    flat = folder / Path(PARTS[part]).name
    return flat if os.path.lexists(flat) and not os.path.lexists(folder / part) else folder / PARTS[part]


def _title(folder: Path) -> str:
    """The folder's name, changed to be a valid name of a run."""
    try:
        name = folder.resolve().name
    except (OSError, RuntimeError):  # the working folder is gone
        name = folder.name
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:100] or "imported"


def _model(config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, int]]:
    """The spec's `model` block, and the shape of the images.

    Raises SpecError for a network that cannot be imported.
    """
    kind = config.get("_class_name")
    if kind != UNET:
        hint = f"valid: {UNET}, in a pipeline that generates images from noise alone"
        if kind == CLASS:
            hint = "ddpmx exported this folder: use the run that it was exported from"
        raise SpecError(f"{shortened(repr(kind))} cannot be imported", field="_class_name", hint=hint)
    if type(config.get("sample_size")) is not int:
        raise SpecError(
            f"should be the height of square images, not {shortened(repr(config.get('sample_size')))}",
            field="sample_size",
        )
    for field in ("num_class_embeds", "class_embed_type"):
        if config.get(field) is not None:
            raise SpecError("class-conditional networks cannot be imported", field=field)
    checked = typed(ImageUnetConfig, config)
    channels = checked.in_channels
    if checked.out_channels not in (None, channels):
        raise SpecError(
            f"should equal in_channels, {channels}: a network with a learned variance cannot be imported",
            field="out_channels",
        )
    shape = {"channels": channels, "size": checked.sample_size}
    try:
        return from_config(config).spec(), shape
    except SpecError as difference:
        return _diffusers_unet(config, difference), shape


def _diffusers_unet(config: Mapping[str, object], difference: SpecError) -> dict[str, object]:
    """The `model` block of a `diffusers_unet`.

    Raises `difference`, the reason why `ddpm_unet` does not suffice, if diffusers is not installed.
    """
    try:
        import diffusers
    except ImportError:
        hint = "pip install 'ddpmx[diffusers]' installs diffusers' own network"
        raise SpecError(difference.message, field=difference.field, hint=hint) from None
    known = set(diffusers.UNet2DModel._get_init_keys(diffusers.UNet2DModel))
    return {
        "name": "diffusers_unet",
        "config": {key: value for key, value in config.items() if key in known and key not in SET_BY_DATA},
    }


def _names(model: Model, shape: Mapping[str, int], weights: Weights) -> dict[str, str]:
    """The name in the weights file of each of the network's tensors.

    Raises SpecError if the file's tensors have other names or shapes, and for a network that does not fit
    into memory.
    """
    make = partial(model.build, shape["channels"], shape["size"])
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
    ours = {name: name for name in shapes}
    without_prefix = {name.removeprefix("unet."): name for name in ours}
    modern_names = translate(ours, renamed(model)) if isinstance(model, DdpmUnet) else without_prefix
    in_file = {modern(name): name for name in weights.shapes}
    ours_of = {in_file.get(name, name): our_name for name, our_name in modern_names.items()}
    weights.check({name: shapes[our_name] for name, our_name in ours_of.items()})
    check_memory(model, make)
    return {our_name: name for name, our_name in ours_of.items()}


def _write(experiment: Experiment, folder: Path, out: Path) -> Path:
    """Write the run's folder and return it. `folder` is the pipeline's."""
    with _whole(out, experiment.spec) as run:
        checkpoint.save(run.checkpoints, TrainState(), prepare(experiment))
        described = environment.facts(experiment.device, ops.active(experiment.device))
        source = {
            "imported_from": str(folder.resolve()),
            "data": {"name": "no_images"},
            "parameters": experiment.parameters,
        }
        run.write_json("environment.json", {**described, **source})
        run.set_status("finished", f"imported from {folder}", epoch=0, step=0, seconds=0)
        write_report(run.path)
    return run.path


@contextmanager
def _whole(out: Path, spec: Spec) -> Iterator[RunFolder]:
    """A new run's folder, which is deleted if writing it fails. Raises SpecError or RunError."""
    run = RunFolder.create(out, spec)
    try:
        yield run
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)
        with suppress(OSError):  # fails, as it should, if other runs of that name are in it
            run.path.parent.rmdir()
        if isinstance(error, OSError):
            raise cannot_write(run.path, error, "--out") from None
        raise
