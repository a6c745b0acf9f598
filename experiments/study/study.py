"""Runs the study at a scale, and publishes its results: `make study SCALE=digits`.

A round gives sweeps another seed: all of them, or at large scales those of one question (`ALL_AT_ONCE` in
study_plan.py says why). The same command resumes a study that was stopped. What is finished is published
after each round, and another machine can continue from that.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from study_commands import ddpmx, exit_code, worker_environments
from study_estimate import say_estimate
from study_measurements import choose_all, measure_chosen, measure_full_chain, write_choices
from study_plan import Study, load_study
from study_publish import publish
from study_restore import check_classifier, published_runs, restore

from ddpmx.claims.judged import files_of_claims, judge_files
from ddpmx.claims.output import print_claims
from ddpmx.comparison.results import read_run
from ddpmx.errors import RunError, SpecError
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
    return exit_code(lambda: _run(options), "the study")


def _run(options: Options) -> None:
    study = load_study(options.scale, options.out, options.seeds)
    if options.publish_only and options.dry_run:
        raise SpecError("runs nothing, so there is nothing to estimate", field="--publish-only --dry-run")
    if not options.publish_only:
        done = {*study.finished(), *published_runs(study, options.results)}
        say_estimate(study, options.jobs, choose_device(None), done)
        if options.dry_run:
            return
    restore(study, options.results)
    problems: list[str] = []
    if not options.publish_only:
        check_classifier(study)
        problems = _train(study, options)
    publish(study, options.results)
    print_claims(judge_files(files_of_claims([options.results])), sys.stdout)
    print(f"published: {options.results}, compared: {options.results / 'compare.html'}", flush=True)
    names = [spec.name for name in study.sweeps for spec in study.specs(name)]
    left = set(names) - set(study.finished())
    if left and not options.publish_only:
        problems = [f"{len(left)} of {len(names)} points are not finished", *problems]
    if problems:
        raise RunError("\n".join([*problems, "the same command tries again"]))


def _train(study: Study, options: Options) -> list[str]:
    """Run the sweeps, round by round, and measure and publish what is finished after each.

    Points that fail are tried again by the next command. Returns the messages of measurements that failed.
    """
    done, problems = set(study.finished()), list[str]()
    for sweeps, seeds in study.rounds():
        last = seeds == study.seeds  # the sweeps then write their pages about all seeds
        names = [
            name for name in sweeps if last or not {spec.name for spec in study.specs(name, seeds)} <= done
        ]
        for name in names:
            print(f"== {name}, {len(seeds)} of {len(study.seeds)} seeds", flush=True)
            changes = [part for text in study.overrides(seeds) for part in ("-s", text)]
            where = ["--out", str(study.out), "--jobs", str(options.jobs)]
            ddpmx(["sweep", str(study.file(name)), *changes, *where], accepted=(0, 1))
        if names:
            problems = _measure(study, options.jobs)
            publish(study, options.results)
    return problems


def _measure(study: Study, jobs: int) -> list[str]:
    """Measure all finished runs with the chosen averages and the whole chain, where that is not done yet.

    This comes before the runs are published, as another machine has no weights to measure them with. Returns
    the messages of measurements that failed.
    """
    runs = {name: read_run(path) for name, path in study.finished().items()}
    choices = choose_all(study, runs)
    points = sum(map(len, study.sweeps.values()))
    print(f"averages are chosen for {len(choices)} of {points} points, those with all seeds", flush=True)
    study.out.mkdir(parents=True, exist_ok=True)
    write_choices(study, choices)
    return [*measure_chosen(study, runs, choices, jobs), *measure_full_chain(study, runs, jobs)]


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
