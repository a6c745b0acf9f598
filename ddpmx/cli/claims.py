"""The command that judges the claims of sweeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Mark, SpecError
from .options import ALLOW, JSON, PATH, SET, print_json

if TYPE_CHECKING:
    from ..claims.judged import Judged


@click.command()
@click.argument("path", metavar="SPEC|RUNS", type=PATH)
@SET
@click.option("--out", type=PATH, help="Folder that holds the runs of SPEC's sweep.  [default: runs]")
@JSON
@ALLOW
def claims(path: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Judge the claims of a sweep by its runs: each holds, fails, or is undecided.

    SPEC is the sweep's file. RUNS is a folder of sweeps, or a sweep's own folder, which has its claims.
    """
    from ..claims.output import print_claims

    judged = _of_folder(path, overrides, out) if path.is_dir() else _of_spec(path, overrides, out)
    if as_json:
        print_json([verdict for one in judged for verdict in one.to_json()])
    else:
        print_claims(judged, sys.stdout)


def _of_spec(path: Path, overrides: tuple[str, ...], out: Path | None) -> list[Judged]:
    """The verdicts on the claims in a sweep's file."""
    from ..storage.newest import RUNS
    from ..sweeps.claims import judged_claims
    from ..sweeps.points import load_sweep

    judged = judged_claims(load_sweep(path, overrides), out or RUNS)
    if judged is None:
        raise SpecError("the sweep has no claims: there is no `claims:` block", mark=Mark(str(path)))
    return [judged]


def _of_folder(path: Path, overrides: tuple[str, ...], out: Path | None) -> list[Judged]:
    """The verdicts on the claims that the sweeps of a folder keep."""
    from ..claims.judged import files_of_claims, judge_files
    from ..claims.recorded import NAME

    for option, value in (("-s", overrides), ("--out", out)):
        if value:
            raise SpecError("is for a spec, and the argument is a folder", field=option)
    files = files_of_claims([path])
    if not files:
        text = f"{path} has no claims: there is no {NAME} in it, or up to two folders below"
        raise SpecError(text, hint="`ddpmx sweep` writes one for a sweep with claims")
    return judge_files(files)
