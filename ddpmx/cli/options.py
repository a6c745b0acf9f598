"""Arguments and options that several commands share, and the functions that turn them into values."""

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
    """A finite number within a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class UserPath(click.Path):
    """A path whose leading `~` is the home folder, even where no shell expands it: `--out=~/runs`."""

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


def _newest_run(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """The run that the argument refers to; printed on stderr when it is not simply the path itself."""
    from ..storage.newest import newest_run

    run = None if path is None else newest_run(path)
    if run != path:
        echo(f"run: {run}", err=True)
    return run


def _newest_runs(
    context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """The run that each argument refers to, without duplicates."""
    runs = [_newest_run(context, parameter, path) for path in paths]
    return tuple(dict.fromkeys(run for run in runs if run is not None))


RUN = click.argument("run", type=PATH, callback=_newest_run)
RUNS = click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=PATH, callback=_newest_runs)
RESUMED = click.option("--run", "resume_from", type=PATH, callback=_newest_run, help="Resume this run.")
SET = click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a field of the spec; repeatable.",
)
OUT = click.option(
    "--out", type=PATH, default=Path("runs"), show_default=True, help="Folder that holds all runs."
)
WEIGHTS = click.option(
    "--weights",
    metavar="best|last|FILE",
    help="The weights to use. Default: the spec's `weights`, by default the best.",
)
POINT = click.option(
    "--point", metavar="NAME", help="Use this point of SPEC's sweep; `run` resumes it if it was started."
)


def _permission(name: str, permission: Callable[[], Permission], help: str) -> Callable[[F], F]:
    """A flag that grants a permission while the command runs."""

    def grant(context: click.Context, option: click.Parameter, is_set: bool) -> None:
        if is_set:
            context.with_resource(permission().granted())

    return click.option(name, is_flag=True, expose_value=False, callback=grant, help=help)


def _plugin_permission() -> Permission:
    from ..plugins.trust import PERMISSION

    return PERMISSION


def _changed_plugin_permission() -> Permission:
    from ..runs.changed_plugins import PERMISSION

    return PERMISSION


ALLOW = _permission(
    "--allow-plugins",
    _plugin_permission,
    "Trust the plugins in a run's folder from now on. Default: only those run on this machine before.",
)
ALLOW_CHANGED = _permission(
    "--allow-changed-plugins",
    _changed_plugin_permission,
    "Resume even if plugins have been edited since; the run's folder records the change.",
)
ALLOW_DATA = click.option(
    "--allow-changed-data",
    is_flag=True,
    help="Proceed even if the run's data have changed since; the run records the change.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else."
)
DEVICE = click.option(
    "--device", metavar="D", help="cpu, cuda, cuda:1 or mps. Default: the fastest available."
)


def say_error(error: SpecError) -> int:
    """Print a line on stderr for each finding; returns the exit code.

    A plugin's traceback follows if DDPMX_TRACEBACK is set; otherwise a line says how to see it.
    """
    terminal.echo(text.message("\n".join(f"error: {line}" for line in error.lines())), err=True)
    if error.trace:
        from ..plugins.faults import SHOW

        hint = f"{SHOW}=1 shows the plugin's traceback."
        terminal.echo(text.lines(error.trace) if os.environ.get(SHOW) else hint, err=True)
    return 2


def load(path: Path, overrides: tuple[str, ...]) -> Spec:
    """Load and validate the spec in a file."""
    from ..spec.loading import load

    return load(path, overrides)


def device_of(name: str | None) -> torch.device:
    """The named device, or the fastest one."""
    from ..training.experiment import choose_device

    return choose_device(name)


def print_json(data: object) -> None:
    """Print one JSON document on stdout, in ASCII where stdout cannot encode more."""
    from ..terminal.console import to_json

    text = to_json(data)
    print(text if can_print(text) else to_json(data, ascii_only=True), flush=True)
