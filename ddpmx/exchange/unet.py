"""`ddpm_unet` as diffusers' UNet2DModel and back: configurations and names of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from ..components.in_words import spec_error
from ..errors import SpecError
from ..models.ddpm_unet import DdpmUnet
from ..text import shortened

V = TypeVar("V")

FIXED: dict[str, object] = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attention_head_dim": None,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-6,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
}
"""The keys of UNet2DModel's configuration that are the same for every ddpm_unet."""
DEFAULTS: dict[str, Any] = {
    **FIXED,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "attention_head_dim": 8,
    "norm_eps": 1e-5,
    "dropout": 0.0,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "down_block_types": ["DownBlock2D", *3 * ["AttnDownBlock2D"]],
    "up_block_types": [*3 * ["AttnUpBlock2D"], "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
}
"""UNet2DModel's defaults, for keys that are missing, as in configurations of old versions."""
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
_BLOCK = {
    "norm_1": "norm1",
    "conv_1": "conv1",
    "time": "time_emb_proj",
    "norm_2": "norm2",
    "conv_2": "conv2",
    "residual": "conv_shortcut",
}
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def to_config(model: DdpmUnet, network: nn.Module, channels: int, size: int) -> dict[str, object]:
    """The configuration of the UNet2DModel that equals this network. Raises SpecError if there is none."""
    groups = _groups(network)
    if len(groups) != 1:
        raise SpecError(
            f"its normalisations have {sorted(groups)} groups, but a UNet2DModel has one number for all",
            field="model.dim",
        )
    if model.classes or model.time != "index":
        raise SpecError(
            "the inputs of UNet2DModel are the image and the timestep's index only",
            field="model.classes" if model.classes else "model.time",
        )
    attends = [size // 2**level in model.attention for level in range(len(model.dim_mults))]
    return {
        **FIXED,
        "sample_size": size,
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ["AttnDownBlock2D" if attention else "DownBlock2D" for attention in attends],
        "up_block_types": ["AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(attends)],
        "block_out_channels": [model.dim * multiple for multiple in model.dim_mults],
        "layers_per_block": model.blocks,
        "dropout": model.dropout,
        "norm_num_groups": groups.pop(),
    }


def _groups(network: nn.Module) -> set[int]:
    """The numbers of groups of a network's group norms."""
    return {module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)}


def from_config(config: Mapping[str, object]) -> DdpmUnet:
    """The component that builds the network of a UNet2DModel's configuration.

    `ImageUnetConfig` has checked it. Raises SpecError at the first field that `ddpm_unet` cannot express.
    """
    full = DEFAULTS | {key: value for key, value in config.items() if not key.startswith("_")}
    widths, channels, size = full["block_out_channels"], full.get("in_channels", 3), full["sample_size"]
    attends = [kind == "AttnDownBlock2D" for kind in full["down_block_types"]]
    multiples = tuple(width // widths[0] for width in widths)
    try:
        model = DdpmUnet(
            dim=widths[0],
            dim_mults=multiples,
            blocks=full["layers_per_block"],
            attention=tuple(size // 2**level for level, attention in enumerate(attends) if attention),
            dropout=float(full["dropout"]),
        )
    except ValidationError as error:
        raise SpecError(
            f"ddpm_unet cannot be built like this: {spec_error(error)}", field="block_out_channels"
        ) from None
    try:
        with torch.device("meta"):  # only the structure is needed
            network = model.build(channels, size)
    except SpecError as error:
        raise SpecError(error.message, field="sample_size") from None
    groups = _groups(network)
    if groups != {full["norm_num_groups"]}:
        raise SpecError(
            f"is {full['norm_num_groups']}, but ddpm_unet has {sorted(groups)}", field="norm_num_groups"
        )
    for key, value in to_config(model, network, channels, size).items():
        actual = full.get(key, channels)
        if actual != value:
            raise SpecError(
                f"is {shortened(json.dumps(actual))}, but ddpm_unet has {json.dumps(value)}", field=key
            )
    return model


def renamed(model: DdpmUnet) -> dict[str, str]:
    """ddpm_unet's name of each part -> UNet2DModel's, as in `down.0.block` -> `down_blocks.0.resnets.0`."""
    names = {
        "time.mlp.0": "time_embedding.linear_1",
        "time.mlp.2": "time_embedding.linear_2",
        "first": "conv_in",
        "norm": "conv_norm_out",
        "output": "conv_out",
        **_stage("middle_1", "mid_block", 0),
        **_stage("middle_2", "mid_block", 1),
    }
    levels = len(model.dim_mults)
    index = 0
    for level in range(levels):
        if level:
            names[f"down.{index}.conv"] = f"down_blocks.{level - 1}.downsamplers.0.conv"
            index += 1
        for block in range(model.blocks):
            names |= _stage(f"down.{index}", f"down_blocks.{level}", block)
            index += 1
    index = 0
    for level in range(levels):
        for block in range(model.blocks + 1):
            names |= _stage(f"up.{index}", f"up_blocks.{level}", block)
            index += 1
        if level < levels - 1:
            names[f"up.{index}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
            index += 1
    return names


def _stage(ours: str, theirs: str, block: int) -> dict[str, str]:
    """The names in one residual block with its attention."""
    names = {f"{ours}.block.{part}": f"{theirs}.resnets.{block}.{name}" for part, name in _BLOCK.items()}
    return names | {
        f"{ours}.attention.{part}": f"{theirs}.attentions.{block}.{name}" for part, name in _ATTENTION.items()
    }


def translate(weights: Mapping[str, V], names: Mapping[str, str]) -> dict[str, V]:
    """The weights under the other library's names. Raises SpecError for a weight without such a name."""
    renamed_weights = {}
    for name, value in weights.items():
        part, _, leaf = name.rpartition(".")
        if part not in names:
            raise SpecError(f"ddpm_unet has no weight named {name}")
        renamed_weights[f"{names[part]}.{leaf}"] = value
    return renamed_weights


def modern(name: str) -> str:
    """The name of a UNet2DModel's weight in diffusers 0.15 and newer.

    Older versions called the layers of attention query, key, value and proj_attn.
    """
    part, _, leaf = name.rpartition(".")
    above, _, last = part.rpartition(".")
    return f"{above}.{_OLD[last]}.{leaf}" if ".attentions." in name and last in _OLD else name
