"""The command that rebuilds moving averages of the weights: ema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SpecError
from ..terminal.printing import echo
from ..text import shortened
from .options import JSON, RUN, print_json

if TYPE_CHECKING:
    from ..storage.rebuilt import StoredAverages


@click.command()
@RUN
@click.option(
    "--std",
    metavar="S,…",
    help="Widths σ_rel to rebuild, separated by commas. Default: print which ones can be rebuilt.",
)
@JSON
def ema(run: Path, std: str | None, as_json: bool) -> None:
    """Rebuild averages of other lengths at the end of RUN, which was trained with train.ema=power."""
    from ..storage.rebuilt import StoredAverages, rebuild

    if std is None:
        stored = StoredAverages.of(run)
        if as_json:
            print_json(_as_data(stored))
        else:
            _print_supported(stored)
        return
    widths = _numbers(std)
    try:
        rebuilt = rebuild(run, widths)
    except SpecError as error:
        raise error.at("--std", None) from None
    if as_json:
        print_json([{"std": each.std, "error": each.error, "file": str(each.file)} for each in rebuilt])
        return
    for each in rebuilt:
        how = f"profile off by {each.error:.2%}" if each.error else "tracked in training"
        echo(f"{each.std:<8g}{how:<24}{each.file}")
    echo(f"next: ddpmx evaluate {run} --over weights.ema_std={','.join(f'{each.std:g}' for each in rebuilt)}")


def _numbers(text: str) -> list[float]:
    """The numbers of a list with commas. Raises SpecError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(
            f"should be numbers separated by commas, such as 0.02,0.05, not '{shortened(text)}'",
            field="--std",
        ) from None


def _as_data(stored: StoredAverages) -> dict[str, object]:
    """The widths that are tracked and supported, and the steps of the snapshots, as JSON types."""
    return {
        "run": str(stored.run),
        "step": stored.profiles.end,
        "tracked": sorted(average.std for average in stored.tracked),
        "supported": [list(ends) for ends in stored.supported],
        "snapshots": stored.snapshots,
    }


def _print_supported(stored: StoredAverages) -> None:
    from ..emas.profile import in_words

    widths = [f"{average.std:g}" for average in reversed(stored.tracked)]
    steps = stored.snapshots
    span = f" from step {steps[0]} to {steps[-1]}" if steps else ""
    echo(f"tracked in training: {', '.join(widths)}")
    echo(f"snapshots: {len(steps)}{span}; training ended at step {stored.profiles.end}")
    echo(f"can be rebuilt: {in_words(stored.supported) or 'nothing, without snapshots'}")
    echo(f"next: ddpmx ema {stored.run} --std {','.join(widths)}")
