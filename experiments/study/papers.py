"""Tests the claims of papers, and publishes the verdicts: `make claims`, or `make claims ARGS=min_snr`.

Each file in experiments/claims/ is a sweep with the claims of one paper. They are run one after the other,
and each is published when it ends, with what is finished by then. The same command resumes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from papers_estimate import say_estimate
from papers_publish import publish
from study_commands import ddpmx, exit_code

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.output import print_claims
from ddpmx.errors import RunError, SpecError, nearest
from ddpmx.spec.claims import Equals
from ddpmx.sweeps.points import Sweep, load_sweep

FOLDER = Path(__file__).resolve().parents[1] / "claims"


@dataclass(frozen=True)
class Options:
    """The command line."""

    names: tuple[str, ...]
    out: Path
    results: Path
    jobs: int | None
    dry_run: bool
    publish_only: bool


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit code, as those of `ddpmx`."""
    options = _options(arguments)
    return exit_code(lambda: _run(options), "the sweeps")


def papers() -> dict[str, Path]:
    """The file of each paper's claims, by the name of its sweep."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def is_computed(grid: Sweep) -> bool:
    """Whether all claims of a sweep are about quantities that need no runs."""
    return all(isinstance(claim, Equals) for claim in grid.claims)


def _run(options: Options) -> None:
    known = papers()
    for name in options.names:
        if name not in known:
            raise SpecError(f"there is no '{name}'", field="NAME", hint=nearest(name, known))
    grids = {name: load_sweep(known[name]) for name in options.names or known}
    if options.dry_run:
        trained = {name: grid for name, grid in grids.items() if not is_computed(grid)}
        say_estimate(trained, options.out, options.jobs)
        return
    left = 0
    for name, grid in grids.items():
        if not (options.publish_only or is_computed(grid)):
            print(f"== {name}", flush=True)
            jobs = [] if options.jobs is None else ["--jobs", str(options.jobs)]
            ddpmx(["sweep", str(known[name]), "--out", str(options.out), *jobs], accepted=(0, 1))
        left += publish(grid, options.out, options.results, is_computed(grid))
    print_claims(judge_files(files_of_claims([options.results])), sys.stdout)
    print(f"published: {options.results}", flush=True)
    if left and not options.publish_only:
        raise RunError(f"{left} points are not finished; the same command tries them again")


def _options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which to test (default: all): {', '.join(papers())}")
    add("--out", type=Path, default=Path("runs/claims"), metavar="DIR", help="folder that holds the runs")
    add("--results", type=Path, default=Path("results/claims"), metavar="DIR", help="folder to be published")
    add("--jobs", type=int, metavar="N", help="trainings at the same time (default: one per GPU, or core)")
    add("--dry-run", action="store_true", help="only estimate how long it takes")
    add("--publish-only", action="store_true", help="only publish the runs that are finished")
    given = parser.parse_args(arguments)
    return Options(
        tuple(given.names), given.out, given.results, given.jobs, given.dry_run, given.publish_only
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
