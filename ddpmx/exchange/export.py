"""`ddpmx export`: a run as a folder that `diffusers` loads where no ddpmx is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import RunError, SpecError
from ..files import expanded
from ..models import embed_time
from ..models.ddpm_unet import DdpmUnet
from ..models.diffusers_unet import DiffusersUnet, DiffusersUnetModule
from ..outputs import check_folder, whole_folder
from ..runs.opening import open_run
from ..text import shortened
from ..training.experiment import Experiment
from .card import model_card
from .schedulers import to_scheduler
from .shipping import standalone
from .unet import renamed, to_config, translate

VERSION = "0.35.0"  # of diffusers: the oldest that is known to read these files
MODULE, CLASS = "network", "DdpmxNetwork"
CUSTOM = '''

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput


class {name}(ModelMixin, ConfigMixin):
    """The network as diffusers' pipelines call it; `times[timestep]` is what it is told of a timestep, the timestep itself without."""

    @register_to_config
    def __init__(self, in_channels, sample_size, fields, times=None):
        super().__init__()
        fields = {{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}}
        self.network = {component}(**fields).build(in_channels, sample_size)

    def forward(self, sample, timestep, return_dict=True):
        index = torch.as_tensor(timestep, device=sample.device).reshape(-1)
        times = self.config.times
        t = index.float() if times is None else torch.tensor(times, dtype=torch.float32, device=sample.device)[index.long()]
        output = self.network(sample, t.expand(len(sample)))
        return UNet2DOutput(sample=output) if return_dict else (output,)
'''


def export(run: Path, folder: Path, *, weights: str, overrides: tuple[str, ...] = ()) -> Path:
    """Write the run's network, schedule and sampler to `folder`, which must be new or empty; returns it.

    Raises SpecError for what diffusers has no twin of and RunError where the disk fails; then nothing is left in `folder`.
    """
    folder = expanded(folder)
    check_folder(folder, "FOLDER")
    opened = open_run(run, overrides, torch.device("cpu"), weights)
    spec, experiment = opened.spec, opened.experiment
    experiment.network.eval()
    with spec.blame(""):
        twin = to_scheduler(spec, experiment.table)
    network = _network(experiment)
    broken = next(
        (name for name, tensor in network.weights.items() if not bool(tensor.isfinite().all())), None
    )
    if broken is not None:
        raise SpecError(
            f"{run}: the weights {broken} hold numbers that are not finite", hint="--weights names others"
        )
    library = MODULE if network.code else "diffusers"
    card = model_card(opened.folder, spec, twin, code=network.code)
    with whole_folder(folder, "FOLDER") as place:
        index = {
            "_class_name": twin.pipeline,
            "scheduler": ["diffusers", twin.scheduler["_class_name"]],
            "unet": [library, network.kind],
        }
        (place / "unet").mkdir()
        (place / "scheduler").mkdir()
        _write(place / "model_index.json", index)
        _write(place / "scheduler" / "scheduler_config.json", twin.scheduler)
        _write(place / "unet" / "config.json", {"_class_name": network.kind, **network.config})
        if network.code:
            (place / "unet" / f"{MODULE}.py").write_text(network.code, encoding="utf-8")
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in network.weights.items()}
        try:
            save_file(
                tensors, place / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"}
            )
        except SafetensorError as error:  # of a full disk
            raise RunError(f"{shortened(str(folder))} cannot be written: {shortened(str(error))}") from None
        (place / "README.md").write_text(card, encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class _Network:
    """A network as diffusers loads it."""

    kind: str
    """Its class."""
    config: dict[str, object]
    weights: dict[str, Tensor]
    code: str = ""
    """Of the class, where diffusers has none."""


def _network(experiment: Experiment) -> _Network:
    model, network = experiment.spec.model, experiment.network
    channels, size, _ = experiment.image_shape
    if isinstance(network, DiffusersUnetModule) and type(model) is DiffusersUnet and model.time == "index":
        unet: Any = network.unet
        return _Network("UNet2DModel", dict(unet.config), unet.state_dict())
    if type(model) is DdpmUnet:
        try:
            return _Network(
                "UNet2DModel",
                to_config(model, network, channels, size),
                translate(network.state_dict(), renamed(model)),
            )
        except SpecError:  # a ddpm_unet that UNet2DModel cannot follow ships its own code
            pass
    with experiment.spec.blame("model"):
        code = standalone(type(model))
        fields = model.model_dump(mode="json")
        _same(code, type(model).__name__, fields, experiment)
    times = embed_time(
        torch.arange(experiment.table.timesteps, dtype=torch.float64), experiment.table, model.time
    )
    config = {
        "in_channels": channels,
        "sample_size": size,
        "fields": fields,
        "times": None if model.time == "index" else times.double().tolist(),
    }
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    return _Network(CLASS, config, weights, code + CUSTOM.format(name=CLASS, component=type(model).__name__))


def _same(code: str, name: str, fields: Mapping[str, object], experiment: Experiment) -> None:
    """Run the code and compare its network with the run's. Raises SpecError where it fails or they differ."""
    channels, size, _ = experiment.image_shape
    space: dict[str, Any] = {"__name__": MODULE}
    x, t = (
        torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0.0, 1.0]),
    )
    try:
        exec(compile(code, f"{MODULE}.py", "exec", dont_inherit=True), space)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        shipped: nn.Module = space[name](**values).build(channels, size)
        shipped.load_state_dict(experiment.network.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(shipped.eval()(x, t), experiment.network(x, t))
    except Exception as error:  # whatever a network's code raises outside of its package
        raise SpecError(
            f"the network's code does not run alone: {type(error).__name__}: {error}".splitlines()[0]
        ) from error


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps({**content, "_diffusers_version": VERSION}, indent=2) + "\n", encoding="utf-8")
