"""The README.md of an exported folder: what it holds, how it is loaded, and what was measured."""

from __future__ import annotations

from collections.abc import Iterable

from .. import __version__
from ..spec.schema import Spec
from ..storage.folder import RunFolder, to_yaml
from ..training.events import Event
from .schedulers import Twin
from .shipping import packages

CARD = """---
library_name: diffusers
tags: [unconditional-image-generation, ddpmx]
---

# {name}

Exported from a run of ddpmx {version}, which is not needed to use it.

```python
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained("."{trust})
images = pipeline(batch_size=4, {arguments}).images
```

With these arguments the samples equal those of `ddpmx sample` from the same starting and injected noise, up to rounding; the random
generators differ, so a seed means other images there.{notes}

{measured}

The resolved spec:

```yaml
{spec}```
"""


def model_card(folder: RunFolder, spec: Spec, twin: Twin, *, code: str) -> str:
    """Markdown. `code` is what `unet/network.py` holds; empty for a network that diffusers has itself."""
    notes = []
    if code:
        needs = ", ".join(packages(code))
        notes += [
            "The network is not one of diffusers' own: `trust_remote_code=True` runs its code, `unet/network.py`,"
            f" which imports these packages: {needs}."
        ]
    if spec.train.precision != "float32":
        notes += [f"The run computed its network in {spec.train.precision}; these weights are float32."]
    return CARD.format(
        name=spec.name,
        version=__version__,
        pipeline=twin.pipeline,
        trust=", trust_remote_code=True" if code else "",
        arguments=", ".join(f"{key}={value!r}" for key, value in twin.arguments.items()),
        notes="".join(f"\n\n{note}" for note in notes),
        measured=_measured(folder.events()),
        spec=to_yaml(spec.resolved()),
    )


def _measured(events: Iterable[Event]) -> str:
    """The newest value of each metric, as a table."""
    found = {
        name: (value, event["step"]) for event in events for name, value in event.get("metrics", {}).items()
    }
    if not found:
        return "No metric was measured."
    rows = [f"| {name} | {value:.6g} | {step} |" for name, (value, step) in found.items()]
    return "\n".join(["| metric | value | after step |", "| --- | --- | --- |", *rows])
