"""`ddpmx.load_spec`: a spec from a file or from Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..spec.loading import load
from ..spec.schema import Spec
from ..spec.source import Source
from ..spec.values import changes, load_values, with_changes


def load_spec(
    spec: str | Path | Mapping[str, object] | Spec, overrides: Mapping[str, object] | None = None
) -> Spec:
    """The validated spec of one run: from a YAML file, from a mapping with the same fields, or from a Spec.

    `overrides` maps dotted fields to values, such as `{"train.steps": 200}`, and changes what `-s` would.
    Paths in values are relative to the working folder, those in a file to the file. A component may stand for
    its block: `{"sampler": ddpmx.SAMPLERS.build("ddim", steps=5)}`.

    Raises SpecError with the field of each finding, for a file also with its line, and for the file of a
    sweep.
    """
    return changed_spec(spec, changes(overrides or {}))


def changed_spec(spec: str | Path | Mapping[str, object] | Spec, changed: Sequence[Source]) -> Spec:
    """`load_spec` with overrides that are made already."""
    if isinstance(spec, Spec):
        return with_changes(spec, changed) if changed else spec
    return load_values(spec, changed) if isinstance(spec, Mapping) else load(Path(spec), changed)
