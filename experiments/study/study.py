"""Runs the study at a scale, and publishes its results: `make study SCALE=digits`.

All sweeps get their first seed, then all get their second, and so on, so that a study that is stopped has
every point with fewer seeds. The same command resumes it. What can be published is, after each round.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from study_commands import ddpmx, worker_environments
from study_estimate import say_estimate
from study_measurements import choose_all, measure_chosen, measure_full_chain, write_choices
from study_plan import Study, load_study
from study_publish import publish

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.output import print_claims
from ddpmx.comparison.results import read_run
from ddpmx.errors import DdpmxError, Interrupted, RunError, SpecError
from ddpmx.training.experiment import choose_device


@dataclass(frozen=True)
class Options:
    """The command line."""

    scale: str
    out: Path
    results: Path
    jobs: int
    seeds: int | None
    dry_run: bool
    publish_only: bool


def main(arguments: list[str]) -> int:
    """Do what the command line says; returns the exit code, as those of `ddpmx`."""
    options = _options(arguments)
    try:
        _run(options)
    except SpecError as error:
        print("\n".join(f"error: {line}" for line in error.lines()), file=sys.stderr)
        return 2
    except (Interrupted, KeyboardInterrupt):
        print("stopped; the same command resumes the study", file=sys.stderr)
        return 130
    except DdpmxError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: Options) -> None:
    study = load_study(options.scale, options.out, options.seeds)
    if not options.publish_only:
        say_estimate(study, options.jobs, choose_device(None))
        if options.dry_run:
            return
        _train(study, options)
        runs = {name: read_run(path) for name, path in study.finished().items()}
        choices = choose_all(study, runs)
        write_choices(study, choices)
        measure_chosen(study, runs, choices, options.jobs)
        measure_full_chain(study, runs, options.jobs)
    elif options.dry_run:
        raise SpecError("runs nothing, so there is nothing to estimate", field="--publish-only --dry-run")
    publish(study, options.results)
    print_claims(judge_files(files_of_claims([options.results])), sys.stdout)
    print(f"published: {options.results}, compared: {options.results / 'compare.html'}", flush=True)
    names = [spec.name for name in study.sweeps for spec in study.specs(name)]
    left = set(names) - set(study.finished())
    if left and not options.publish_only:
        raise RunError(
            f"{len(left)} of {len(names)} points are not finished; the same command tries them again"
        )


def _train(study: Study, options: Options) -> None:
    """Run the sweeps, a round for each further seed. Points that fail are tried again by the next command."""
    done = set(study.finished())
    for count in range(1, len(study.seeds) + 1):
        seeds = study.seeds[:count]
        last = count == len(study.seeds)  # the sweeps then write their pages about all seeds
        for name in study.sweeps:
            if last or not {spec.name for spec in study.specs(name, seeds)} <= done:
                print(f"== {name}, {count} of {len(study.seeds)} seeds", flush=True)
                changes = [part for text in study.overrides(seeds) for part in ("-s", text)]
                where = ["--out", str(study.out), "--jobs", str(options.jobs)]
                ddpmx(["sweep", str(study.file(name)), *changes, *where], accepted=(0, 1))
        if not last:
            publish(study, options.results)


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("scale", metavar="SCALE", help="a file in experiments/study/scales/, such as digits")
    add("--out", type=Path, metavar="DIR", help="folder that holds the runs (default: runs/study/SCALE)")
    add("--results", type=Path, metavar="DIR", help="published folder (default: results/study/SCALE)")
    add(
        "--jobs", type=int, metavar="N", help="trainings at the same time (default: one per GPU, or per core)"
    )
    add("--seeds", type=int, metavar="N", help="only the first N seeds (default: all)")
    add("--dry-run", action="store_true", help="only estimate how long the study takes")
    add("--publish-only", action="store_true", help="only publish the runs that are finished")
    given = parser.parse_args(arguments)
    return Options(
        given.scale,
        given.out or Path("runs/study") / given.scale,
        given.results or Path("results/study") / given.scale,
        given.jobs or len(worker_environments(10_000, None)),
        given.seeds,
        given.dry_run,
        given.publish_only,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
