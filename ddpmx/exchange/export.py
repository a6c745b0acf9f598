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

VERSION = "0.35.0"
"""The oldest version of diffusers that is known to read these files."""
MODULE, CLASS = "network", "DdpmxNetwork"
"""The module and the class of a network that diffusers does not have itself."""
CUSTOM = '''

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput


class {name}(ModelMixin, ConfigMixin):
    """The network as diffusers' pipelines call it.

    Its time input is `times[timestep]`, or the timestep itself if `times` is None.
    """

    @register_to_config
    def __init__(self, in_channels, sample_size, fields, times=None):
        super().__init__()
        fields = {{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}}
        self.network = {component}(**fields).build(in_channels, sample_size)

    def forward(self, sample, timestep, return_dict=True):
        index = torch.as_tensor(timestep, device=sample.device).reshape(-1)
        times = self.config.times
        t = index.float()
        if times is not None:
            t = torch.tensor(times, dtype=torch.float32, device=sample.device)[index.long()]
        output = self.network(sample, t.expand(len(sample)))
        return UNet2DOutput(sample=output) if return_dict else (output,)
'''


def export(run: Path, folder: Path, *, weights: str | None, overrides: tuple[str, ...] = ()) -> Path:
    """Write the run's network, schedule and sampler to `folder`, which must be new or empty; returns it.

    Raises SpecError for a part without an equivalent in diffusers, and RunError if the disk fails. Nothing is
    left in `folder` then.
    """
    folder = expanded(folder)
    check_folder(folder, "FOLDER")
    opened = open_run(run, overrides, torch.device("cpu"), weights)
    spec, experiment = opened.spec, opened.experiment
    experiment.network.eval()
    with spec.blame(""):
        pipeline = to_scheduler(spec, experiment.table)
    network = _network(experiment)
    broken = next(
        (name for name, tensor in network.weights.items() if not bool(tensor.isfinite().all())), None
    )
    if broken is not None:
        raise SpecError(
            f"{run}: the weights {broken} have values that are not finite",
            hint="--weights chooses another checkpoint",
        )
    library = MODULE if network.code else "diffusers"
    card = model_card(opened.folder, spec, pipeline, code=network.code)
    with whole_folder(folder, "FOLDER") as out:
        index = {
            "_class_name": pipeline.kind,
            "scheduler": ["diffusers", pipeline.scheduler["_class_name"]],
            "unet": [library, network.kind],
        }
        (out / "unet").mkdir()
        (out / "scheduler").mkdir()
        _write(out / "model_index.json", index)
        _write(out / "scheduler" / "scheduler_config.json", pipeline.scheduler)
        _write(out / "unet" / "config.json", {"_class_name": network.kind, **network.config})
        if network.code:
            (out / "unet" / f"{MODULE}.py").write_text(network.code, encoding="utf-8")
        tensors = {name: tensor.detach().contiguous().clone() for name, tensor in network.weights.items()}
        try:
            save_file(
                tensors, out / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"}
            )
        except SafetensorError as error:  # the disk is full
            raise RunError(f"{shortened(str(folder))} cannot be written: {shortened(str(error))}") from None
        (out / "README.md").write_text(card, encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class _Network:
    """A network as diffusers loads it."""

    kind: str
    """The name of its class."""
    config: dict[str, object]
    """The content of unet/config.json."""
    weights: dict[str, Tensor]
    """Its tensors, under the class's names."""
    code: str = ""
    """Python that defines the class; empty if diffusers has it."""


def _network(experiment: Experiment) -> _Network:
    """The run's network as diffusers' own class where that is the same, otherwise with its code.

    Raises SpecError if the code does not run without ddpmx.
    """
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
        except (
            SpecError
        ):  # UNet2DModel cannot express this ddpm_unet, which is exported with its code instead
            pass
    with experiment.spec.blame("model"):
        code = standalone(type(model))
        fields = model.model_dump(mode="json")
        _check_code(code, type(model).__name__, fields, experiment)
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


def _check_code(code: str, name: str, fields: Mapping[str, object], experiment: Experiment) -> None:
    """Run the code and compare its network with the run's. Raises SpecError if it fails or outputs differ."""
    channels, size, _ = experiment.image_shape
    namespace: dict[str, Any] = {"__name__": MODULE}
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 1.0])
    try:
        exec(compile(code, f"{MODULE}.py", "exec", dont_inherit=True), namespace)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        exported: nn.Module = namespace[name](**values).build(channels, size)
        exported.load_state_dict(experiment.network.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(exported.eval()(x, t), experiment.network(x, t))
    except Exception as error:  # code that runs outside its package can raise anything
        raise SpecError(
            f"the network's code does not run without ddpmx: {type(error).__name__}: {error}".splitlines()[0]
        ) from error


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps({**content, "_diffusers_version": VERSION}, indent=2) + "\n", encoding="utf-8")
