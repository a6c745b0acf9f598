"""What the configuration of diffusers' UNet2DModel may hold: its types, and ranges that keep a network buildable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(max_length=100)]
Width = Annotated[int, Field(ge=1, le=65_536)]
MAX_LEVELS = 12


class UnetConfig(BaseModel):
    """All keys but those of the images' shape, with UNet2DModel's defaults; keys of other versions of diffusers are not judged."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=()
    )

    center_input_sample: bool = False
    time_embedding_type: Literal["positional"] = "positional"
    """`fourier` takes the logarithm of the timestep, of which 0 has none, and `learned` knows whole timesteps only."""
    time_embedding_dim: Width | None = None
    freq_shift: float = Field(0, ge=-1000, le=1000)
    flip_sin_to_cos: bool = True
    down_block_types: Sequence[Name] = Field(
        ("DownBlock2D", *3 * ["AttnDownBlock2D"]), min_length=1, max_length=MAX_LEVELS
    )
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: Sequence[Name] = Field(
        (*3 * ["AttnUpBlock2D"], "UpBlock2D"), min_length=1, max_length=MAX_LEVELS
    )
    block_out_channels: Sequence[Width] = Field((224, 448, 672, 896), min_length=1, max_length=MAX_LEVELS)
    layers_per_block: int = Field(2, ge=0, le=64)
    mid_block_scale_factor: float = 1
    downsample_padding: int = Field(1, ge=0, le=64)
    downsample_type: Literal["conv", "resnet"] | None = "conv"
    upsample_type: Literal["conv", "resnet"] | None = "conv"
    dropout: float = Field(0.0, ge=0, le=1)
    act_fn: Name = "silu"
    attention_head_dim: Width | None = 8
    norm_num_groups: Width | None = 32
    attn_norm_num_groups: Width | None = None
    norm_eps: float = Field(1e-5, ge=0, le=1)
    resnet_time_scale_shift: Name = "default"
    add_attention: bool = True
    class_embed_type: None = None
    num_class_embeds: None = None
    """Nothing tells it classes."""
    num_train_timesteps: int | None = Field(None, ge=1, le=100_000)

    @model_validator(mode="after")
    def _divides_by_no_zero(self) -> UnetConfig:
        """UNet2DModel would divide by these zeros without an error, and draw images of NaN."""
        if self.mid_block_scale_factor == 0:
            raise ValueError("mid_block_scale_factor should not be 0")
        if self.block_out_channels[0] // 2 == self.freq_shift:
            raise ValueError(f"freq_shift should not be half of the first width, {self.freq_shift:g}")
        return self


def checked(config: dict[str, object]) -> dict[str, object]:
    """The same configuration. Raises pydantic's ValidationError that names the keys at fault."""
    UnetConfig.model_validate(config)
    return config
