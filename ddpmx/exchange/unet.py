"""`ddpm_unet` and diffusers' UNet2DModel are one network: the configurations and the names of the weights, both ways."""

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

# What ddpm_unet always is.
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
# What UNet2DModel is where its configuration is silent, which ones of old versions are.
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
    """The configuration of the UNet2DModel that is this network. Raises SpecError where there is none."""
    groups = _groups(network)
    if len(groups) != 1:
        raise SpecError(
            f"its normalisations have {sorted(groups)} groups, and UNet2DModel's all have one number of them",
            field="model.dim",
        )
    if model.classes or model.time != "index":
        raise SpecError(
            "UNet2DModel is told the timestep's index, and no class",
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
    """Of its normalisations."""
    return {module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)}


def from_config(config: Mapping[str, object]) -> DdpmUnet:
    """The component that builds the network of a UNet2DModel's configuration, which `ImageUnetConfig` has checked.

    Raises SpecError that names the first field which `ddpm_unet` cannot follow.
    """
    given = DEFAULTS | {key: value for key, value in config.items() if not key.startswith("_")}
    widths, channels, size = given["block_out_channels"], given.get("in_channels", 3), given["sample_size"]
    attends = [kind == "AttnDownBlock2D" for kind in given["down_block_types"]]
    multiples = tuple(width // widths[0] for width in widths)
    try:
        model = DdpmUnet(
            dim=widths[0],
            dim_mults=multiples,
            blocks=given["layers_per_block"],
            attention=tuple(size // 2**level for level, attention in enumerate(attends) if attention),
            dropout=float(given["dropout"]),
        )
    except ValidationError as error:
        raise SpecError(
            f"ddpm_unet cannot be built so: {spec_error(error)}", field="block_out_channels"
        ) from None
    try:
        with torch.device("meta"):  # only its structure is needed
            network = model.build(channels, size)
    except SpecError as error:
        raise SpecError(error.message, field="sample_size") from None
    groups = _groups(network)
    if groups != {given["norm_num_groups"]}:
        raise SpecError(
            f"is {given['norm_num_groups']}, and ddpm_unet has {sorted(groups)}", field="norm_num_groups"
        )
    for key, value in to_config(model, network, channels, size).items():
        found = given.get(key, channels)
        if found != value:
            raise SpecError(
                f"is {shortened(json.dumps(found))}, and ddpm_unet has {json.dumps(value)}", field=key
            )
    return model


def renamed(model: DdpmUnet) -> dict[str, str]:
    """UNet2DModel's name of each of ddpm_unet's parts: `down.0.block` -> `down_blocks.0.resnets.0`."""
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
    at = 0
    for level in range(levels):
        if level:
            names[f"down.{at}.conv"] = f"down_blocks.{level - 1}.downsamplers.0.conv"
            at += 1
        for block in range(model.blocks):
            names |= _stage(f"down.{at}", f"down_blocks.{level}", block)
            at += 1
    at = 0
    for level in range(levels):
        for block in range(model.blocks + 1):
            names |= _stage(f"up.{at}", f"up_blocks.{level}", block)
            at += 1
        if level < levels - 1:
            names[f"up.{at}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
            at += 1
    return names


def _stage(ours: str, theirs: str, block: int) -> dict[str, str]:
    names = {f"{ours}.block.{part}": f"{theirs}.resnets.{block}.{name}" for part, name in _BLOCK.items()}
    return names | {
        f"{ours}.attention.{part}": f"{theirs}.attentions.{block}.{name}" for part, name in _ATTENTION.items()
    }


def translate(weights: Mapping[str, V], names: Mapping[str, str]) -> dict[str, V]:
    """The weights under the other library's names. Raises SpecError for one that has none there."""
    found = {}
    for name, value in weights.items():
        part, _, leaf = name.rpartition(".")
        if part not in names:
            raise SpecError(f"the weight {name} has no place in ddpm_unet")
        found[f"{names[part]}.{leaf}"] = value
    return found


def modern(name: str) -> str:
    """A UNet2DModel's weight as versions since 0.15 name it; older files have query, key, value, proj_attn in attention."""
    part, _, leaf = name.rpartition(".")
    above, _, last = part.rpartition(".")
    return f"{above}.{_OLD[last]}.{leaf}" if ".attentions." in name and last in _OLD else name
