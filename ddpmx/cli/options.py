"""Arguments and options that several commands share, and what they become."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import text
from ..errors import SpecError
from ..files import expanded
from ..terminal import printing as terminal
from ..terminal.printing import can_print, echo

if TYPE_CHECKING:
    import torch

    from ..plugins.permission import Permission
    from ..spec.schema import Spec


F = TypeVar("F", bound=Callable[..., object])


class Number(click.FloatRange):
    """A finite number in a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class UserPath(click.Path):
    """A path in which a leading `~` is the home folder, also where the shell has left it: `--out=~/runs`."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        try:
            return super().convert(expanded(os.fspath(value)), param, ctx)
        except SpecError as error:
            raise error.at(param.opts[0] if param is not None else "", None) from None


SEED = click.IntRange(-(2**63), 2**64 - 1)
IMAGES = 10_000_000
STEPS = click.IntRange(1, 100_000)

PATH = UserPath(path_type=Path)
SPEC = click.argument("spec", type=PATH)


def _newest(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """The run that is meant, which stderr is told where it is not the one named."""
    from ..storage.newest import newest_run

    run = None if path is None else newest_run(path)
    if run != path:
        echo(f"run: {run}", err=True)
    return run


RUN = click.argument("run", type=PATH, callback=_newest)
RESUMED = click.option("--run", "resume_from", type=PATH, callback=_newest, help="Go on with this run.")
SET = click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a field of the spec; repeatable.",
)
OUT = click.option(
    "--out", type=PATH, default=Path("runs"), show_default=True, help="Where the runs' folders go."
)
WEIGHTS = click.option("--weights", default="best", show_default=True, metavar="best|last|FILE")
POINT = click.option(
    "--point", metavar="NAME", help="One point of SPEC's sweep; `run` goes on where it stopped."
)


def _permission(name: str, permission: Callable[[], Permission], help: str) -> Callable[[F], F]:
    """A flag that grants a permission for as long as the command runs."""

    def grant(context: click.Context, option: click.Parameter, given: bool) -> None:
        if given:
            context.with_resource(permission().granted())

    return click.option(name, is_flag=True, expose_value=False, callback=grant, help=help)


def _run_plugins() -> Permission:
    from ..plugins.trust import PERMISSION

    return PERMISSION


def _resume_with_changed_plugins() -> Permission:
    from ..runs.changed_plugins import PERMISSION

    return PERMISSION


ALLOW = _permission(
    "--allow-plugins",
    _run_plugins,
    "Run the plugins that a run's folder brings, from now on; else only what ran on this machine before.",
)
ALLOW_CHANGED = _permission(
    "--allow-changed-plugins",
    _resume_with_changed_plugins,
    "Resume although plugins were edited since; the run's folder records it.",
)
ALLOW_DATA = click.option(
    "--allow-changed-data",
    is_flag=True,
    help="Although the run's data have changed since; the run then says so.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there."
)
DEVICE = click.option("--device", metavar="D", help="cpu, cuda, cuda:1, mps. Default: the fastest there is.")


def say_error(error: SpecError) -> int:
    """A line on stderr for each finding, of a plugin's also the traceback where that is asked for; returns the exit code."""
    terminal.echo(text.message("\n".join(f"error: {line}" for line in error.lines())), err=True)
    if error.trace:
        from ..plugins.faults import SHOW

        terminal.echo(
            text.lines(error.trace) if os.environ.get(SHOW) else f"{SHOW}=1 shows the plugin's traceback.",
            err=True,
        )
    return 2


def load(path: Path, overrides: tuple[str, ...]) -> Spec:
    """The checked spec of a file."""
    from ..spec.loading import load

    return load(path, overrides)


def device_of(name: str | None) -> torch.device:
    """The device of that name, or the fastest."""
    from ..training.experiment import choose_device

    return choose_device(name)


def print_json(data: object) -> None:
    """One JSON document on stdout, in ASCII where that cannot hold more."""
    from ..terminal.console import to_json

    text = to_json(data)
    print(text if can_print(text) else to_json(data, ascii_only=True), flush=True)
