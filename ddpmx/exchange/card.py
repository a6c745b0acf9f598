"""The README.md of an exported folder: its content, how to load it, and the measured metrics."""

from __future__ import annotations

from .. import __version__
from ..spec.schema import Spec
from ..storage.folder import RunFolder, to_yaml
from ..storage.measurement import LatestMeasurements
from .schedulers import DiffusersPipeline
from .shipping import packages

CARD = """---
library_name: diffusers
tags: [unconditional-image-generation, ddpmx]
---

# {name}

This diffusion model was exported from a run of ddpmx {version}. Loading it needs `diffusers`, but not ddpmx.

```python
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained("."{trust})
images = pipeline(batch_size=4, {arguments}).images
```

From the same starting noise and the same noise in each step, these arguments generate the same images as
`ddpmx sample`, up to rounding. The random number generators differ, so equal seeds give other images.{notes}

## Metrics

{measured}

## Configuration

The complete ddpmx spec of the run:

```yaml
{spec}```
"""


def model_card(folder: RunFolder, spec: Spec, pipeline: DiffusersPipeline, *, code: str) -> str:
    """The card in Markdown. `code` is the content of `unet/network.py`, if the network needs that file."""
    notes = []
    if code:
        imported = ", ".join(packages(code))
        notes += [
            "The network's class is not part of diffusers. `trust_remote_code=True` allows diffusers to run"
            f" its code, `unet/network.py`, which imports these packages: {imported}."
        ]
    if spec.train.precision != "float32":
        notes += [
            f"The run computed its network in {spec.train.precision}. The weights in this folder are float32."
        ]
    return CARD.format(
        name=spec.name,
        version=__version__,
        pipeline=pipeline.kind,
        trust=", trust_remote_code=True" if code else "",
        arguments=", ".join(f"{key}={value!r}" for key, value in pipeline.arguments.items()),
        notes="".join(f"\n\n{note}" for note in notes),
        measured=_measured(folder),
        spec=to_yaml(spec.resolved()),
    )


def _measured(folder: RunFolder) -> str:
    """A table of each metric's newest value with the settings of the run's spec."""
    measured = LatestMeasurements(folder.spec_data(), folder.environment())
    for event in folder.events():
        measured.add(event)
    if not measured.own:
        return "No metrics were measured."
    rows = [f"| {name} | {one.value:.6g} | {one.step} |" for name, one in measured.own.items()]
    return "\n".join(["| metric | value | after training step |", "| --- | --- | --- |", *rows])
