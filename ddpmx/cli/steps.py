"""The command that finds timesteps for few steps of sampling: steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SpecError
from ..terminal.printing import echo
from ..text import shortened
from .options import ALLOW, DEVICE, JSON, RUN, SET, WEIGHTS, device_of, print_json

if TYPE_CHECKING:
    from ..runs.best_steps import Steps, StepsRequest


@click.command()
@RUN
@click.option(
    "-n",
    "counts",
    metavar="N,…",
    default="10",
    show_default=True,
    help="Numbers of network evaluations, separated by commas.",
)
@click.option(
    "--variance",
    type=click.Choice(["posterior", "beta", "analytic"]),
    default="posterior",
    show_default=True,
    help="The sampler's variance.",
)
@click.option(
    "--images",
    type=click.IntRange(2, 100_000),
    metavar="N",
    default=100,
    show_default=True,
    help="Most validation images to measure on.",
)
@click.option(
    "--candidates",
    type=click.IntRange(2, 4000),
    metavar="N",
    default=1000,
    show_default=True,
    help="Most timesteps to choose from, evenly spaced.",
)
@click.option("--no-clip", is_flag=True, help="Do not bound the predicted x_0 to [−1, 1].")
@SET
@WEIGHTS
@DEVICE
@ALLOW
@JSON
def steps(
    run: Path,
    counts: str,
    variance: str,
    images: int,
    candidates: int,
    no_clip: bool,
    overrides: tuple[str, ...],
    weights: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Find the best timesteps for few steps of the sampler ddpm with RUN's weights.

    They have the least variational bound on validation images, by dynamic programming over the errors at all
    timesteps. Prints a `sampler` block for a spec.
    """
    numbers = _numbers(counts)
    from ..runs.best_steps import VARIANCES, StepsRequest, best_steps

    chosen = next(each for each in VARIANCES if each == variance)
    request = StepsRequest(numbers, images, candidates, chosen, not no_clip)
    found = best_steps(run, request, device=device_of(device), overrides=overrides, weights=weights)
    if as_json:
        print_json([_as_data(one, request) for one in found])
    else:
        echo("\n\n".join(_block(one, request) for one in found))


def _numbers(text: str) -> tuple[int, ...]:
    """The whole numbers of a list with commas. Raises SpecError for anything else."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise SpecError(
            f"should be whole numbers separated by commas, such as 5,10,20, not '{shortened(text)}'",
            field="-n",
        ) from None


def _block(found: Steps, request: StepsRequest) -> str:
    """The `sampler` block as YAML, below comments with its bound and those of other grids."""
    bits = found.bits
    lines = [
        f"# {len(found.timesteps)} evaluations: {bits.value:.4g} ± {bits.high - bits.value:.2g} bits per"
        f" dimension on {found.images} validation images"
    ]
    for grid, more in found.others.items():
        text = more if isinstance(more, str) else f"{more.value:+.4g} ± {more.high - more.value:.2g} bits"
        lines.append(f"# {grid}: {text}")
    lines += ["sampler:", "  name: ddpm", f"  variance: {request.variance}"]
    lines += [] if request.clip else ["  clip: null"]
    return "\n".join([*lines, f"  timesteps: [{', '.join(map(str, found.timesteps))}]"])


def _as_data(found: Steps, request: StepsRequest) -> dict[str, object]:
    """The result as JSON types."""
    return {
        "evaluations": len(found.timesteps),
        "timesteps": list(found.timesteps),
        "variance": request.variance,
        "clip": request.clip,
        "bits": found.bits.value,
        "interval": [found.bits.low, found.bits.high],
        "images": found.images,
        "others": {
            grid: {"problem": more}
            if isinstance(more, str)
            else {"more_bits": more.value, "interval": [more.low, more.high]}
            for grid, more in found.others.items()
        },
    }
