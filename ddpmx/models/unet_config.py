"""The accepted configuration of diffusers' UNet2DModel: types, and the ranges that it can be built with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(max_length=100)]
Width = Annotated[int, Field(ge=1, le=65_536)]
MAX_LEVELS = 12


class UnetConfig(BaseModel):
    """UNet2DModel's keys and defaults, without the images' shape. Keys of other diffusers versions pass."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=()
    )

    center_input_sample: bool = False
    """Whether x is mapped to 2·x − 1 first."""
    time_embedding_type: Literal["positional"] = "positional"
    """Not `fourier`, which takes the logarithm of timestep 0; nor `learned`, for whole timesteps only."""
    time_embedding_dim: Width | None = None
    """Size of the time features; None: four times the first width."""
    freq_shift: float = Field(0, ge=-1000, le=1000)
    """Subtracted from half the embedding size where the frequencies are spaced."""
    flip_sin_to_cos: bool = True
    """Whether the cosines come before the sines."""
    down_block_types: Sequence[Name] = Field(
        ("DownBlock2D", *3 * ["AttnDownBlock2D"]), min_length=1, max_length=MAX_LEVELS
    )
    """Block class of each level on the way down."""
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    """Block class in the middle; None: no middle block."""
    up_block_types: Sequence[Name] = Field(
        (*3 * ["AttnUpBlock2D"], "UpBlock2D"), min_length=1, max_length=MAX_LEVELS
    )
    """Block class of each level on the way up."""
    block_out_channels: Sequence[Width] = Field((224, 448, 672, 896), min_length=1, max_length=MAX_LEVELS)
    """Width of each level."""
    layers_per_block: int = Field(2, ge=0, le=64)
    """Residual blocks of each level on the way down."""
    mid_block_scale_factor: float = 1
    """Divides the output of each residual block in the middle."""
    downsample_padding: int = Field(1, ge=0, le=64)
    """Padding of the downsampling convolutions."""
    downsample_type: Literal["conv", "resnet"] | None = "conv"
    """Layer that halves the side; None: no downsampling."""
    upsample_type: Literal["conv", "resnet"] | None = "conv"
    """Layer that doubles the side; None: no upsampling."""
    dropout: float = Field(0.0, ge=0, le=1)
    """Dropout probability in the residual blocks."""
    act_fn: Name = "silu"
    """Activation function."""
    attention_head_dim: Width | None = 8
    """Features of each attention head."""
    norm_num_groups: Width | None = 32
    """Groups of each GroupNorm."""
    attn_norm_num_groups: Width | None = None
    """Groups of the norm in the middle's attention; None: `norm_num_groups`."""
    norm_eps: float = Field(1e-5, ge=0, le=1)
    """Added to the variance in each norm."""
    resnet_time_scale_shift: Name = "default"
    """How the time enters a residual block: added (`default`), or as scale and shift."""
    add_attention: bool = True
    """Whether the middle block has attention."""
    class_embed_type: None = None
    """Unset: class labels are not passed to this network."""
    num_class_embeds: None = None
    """Unset: class labels are not passed to this network."""
    num_train_timesteps: int | None = Field(None, ge=1, le=100_000)
    """Timesteps that a learned time embedding would have."""

    @model_validator(mode="after")
    def _divides_by_no_zero(self) -> UnetConfig:
        """UNet2DModel would divide by these zeros without an error and output NaN."""
        if self.mid_block_scale_factor == 0:
            raise ValueError("mid_block_scale_factor should not be 0, since the network divides by it")
        if self.block_out_channels[0] // 2 == self.freq_shift:
            raise ValueError(
                f"freq_shift should not be half of the first of block_out_channels, {self.freq_shift:g}"
            )
        return self


def checked(config: dict[str, object]) -> dict[str, object]:
    """The configuration, unchanged. Raises pydantic's ValidationError, which names the invalid keys."""
    UnetConfig.model_validate(config)
    return config
