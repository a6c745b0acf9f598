"""What `ddpmx sweep` was asked for, and the commands that run its points."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..files import expanded, resolved
from ..plugins import trust
from ..spec.loading import EXTENDS, field_of, override
from ..storage.provenance import ALLOW
from .local import program


@dataclass(frozen=True)
class Request:
    """The arguments of `ddpmx sweep` that its points share."""

    path: Path
    """The spec file."""
    overrides: tuple[str, ...]
    """The values of `-s`."""
    out: Path
    """The folder for runs."""
    device: str | None = None
    """The value of `--device`."""
    allow_changed_data: bool = False
    """Whether points that were trained on other data count as finished, or are resumed."""

    def command(self, point: str) -> tuple[str, ...]:
        """The command line that runs one point, from any folder."""
        settings = [part for text in self.overrides for part in ("-s", _from_any_folder(text))]
        options = ["--out", str(self.out.resolve()), *(["--device", self.device] if self.device else [])]
        options += [ALLOW] if self.allow_changed_data else []
        options += ["--allow-plugins"] if trust.PERMISSION.is_granted else []
        return (*program(), "run", str(self.path.resolve()), "--point", point, *settings, *options)


def _from_any_folder(text: str) -> str:
    """An override that means the same in other folders: with absolute paths, if it is one of `extends`."""
    if field_of(text) != EXTENDS:
        return text
    bases = override(text).data[EXTENDS]
    if isinstance(bases, str):
        return f"{EXTENDS}={json.dumps(str(resolved(expanded(bases))))}"
    assert isinstance(bases, list)  # or the sweep could not be loaded
    return f"{EXTENDS}={json.dumps([str(resolved(expanded(base))) for base in bases])}"
