"""What `ddpmx sweep` was asked for, and the commands that run its points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..plugins import trust
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
        settings = [part for text in self.overrides for part in ("-s", text)]
        options = ["--out", str(self.out.resolve()), *(["--device", self.device] if self.device else [])]
        options += [ALLOW] if self.allow_changed_data else []
        options += ["--allow-plugins"] if trust.PERMISSION.is_granted else []
        return (*program(), "run", str(self.path.resolve()), "--point", point, *settings, *options)
