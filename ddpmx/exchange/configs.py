"""The JSON files of a diffusers folder, read as typed values. Every error names the file and the key."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..components.in_words import spec_error
from ..errors import SpecError
from ..files import read_json
from ..models.unet_config import Name, UnetConfig
from ..text import shortened

PARTS = {"unet": "unet/config.json", "scheduler": "scheduler/scheduler_config.json"}
"""The parts of a pipeline that can be imported, and the paths of their configurations."""
INDEX = "model_index.json"
UNET = "UNet2DModel"
Beta = Annotated[float, Field(gt=0, le=1)]
C = TypeVar("C", bound=BaseModel)


class ImageUnetConfig(UnetConfig):
    """unet/config.json of a network for square images."""

    sample_size: int = Field(ge=1, le=4096)
    """Height and width of the images, in pixels."""
    in_channels: int = Field(3, ge=1, le=4)
    """Channels of the images."""
    out_channels: int | None = None
    """Channels of the output; null for as many as the images have."""


class SchedulerConfig(BaseModel):
    """scheduler/scheduler_config.json, with diffusers' defaults. Other keys do not affect the schedulers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    class_name: Name = Field(alias="_class_name")
    num_train_timesteps: int = Field(1000, ge=1, le=100_000)
    beta_start: Beta = 1e-4
    beta_end: Beta = 0.02
    beta_schedule: Name = "linear"
    trained_betas: Annotated[list[Beta], Field(min_length=1, max_length=100_000)] | None = None
    variance_type: Name = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: float = Field(1.0, gt=0, le=1e6)
    prediction_type: Name = "epsilon"
    thresholding: bool = False
    timestep_spacing: Name = "leading"
    steps_offset: int = Field(0, ge=0, le=100_000)
    rescale_betas_zero_snr: bool = False
    set_alpha_to_one: bool = True


def typed(kind: type[C], config: Mapping[str, object]) -> C:
    """The configuration as a value of class `kind`. Raises SpecError that names the key."""
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        raise spec_error(error) from None


def mapping(path: Path) -> dict[str, object]:
    """The object in a JSON file. Raises SpecError that names the file if there is none."""
    try:
        content = read_json(path)
    except SpecError as error:
        raise SpecError(
            error.message, hint="a pipeline's folder has model_index.json, unet/ and scheduler/"
        ) from None
    if not isinstance(content, dict):
        raise SpecError(f"{path} should contain a JSON object, not {shortened(repr(content))}")
    return content


@contextmanager
def inside(path: Path) -> Iterator[None]:
    """Prefix the field of each SpecError with the file."""
    try:
        yield
    except SpecError as error:
        raise error.each(
            lambda finding: SpecError(
                finding.message,
                field=f"{path}: {finding.field}" if finding.field else str(path),
                hint=finding.hint,
            )
        ) from None


def check_index(folder: Path, classes: Mapping[str, object]) -> None:
    """Check that model_index.json, if there is one, lists the parts and classes in `classes` and no others.

    `classes` maps each part to the name of its class. Raises SpecError at the first difference.
    """
    if not os.path.lexists(folder / INDEX):
        return
    content = mapping(folder / INDEX)
    with inside(folder / INDEX):
        for part, value in content.items():
            # Options of the pipeline, and parts that were not saved, need no check.
            if not isinstance(value, list) or value == [None, None]:
                continue
            if part not in classes:
                raise SpecError(
                    "a pipeline with this part cannot be imported",
                    field=shortened(part),
                    hint=f"valid: {', '.join(classes)}",
                )
            if value != ["diffusers", classes[part]]:
                raise SpecError(
                    f"is {shortened(repr(value))}, but {PARTS[part]} is a configuration of diffusers'"
                    f" {shortened(str(classes[part]))}",
                    field=part,
                )
