"""`ddpmx sweep SPEC --until-settled`: adds seeds until each pair of specs differs or is equivalent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import fmean

from ..errors import Interrupted, RunError, SpecError
from ..process.stop import StopSignal
from ..runs.known_runs import comparable, training_key
from ..terminal.console import Bar
from ..text import listed
from ..theory.sequential import Pair
from .claims import keep_claims
from .looks import Looks, family_scores, settle
from .points import load_sweep
from .request import Request
from .runner import make_folder, preflight, report_results
from .seeded import Seeded
from .settle_measure import measure_of
from .settle_options import SettleOptions
from .settle_runs import SettleRuns, Workers
from .settle_words import (
    MOST_LINES,
    announcement,
    look_lines,
    most_work,
    needs,
    new_question,
    verdict_table,
)
from .settled_file import Question, SettledFile
from .table import table
from .trainings import Progress, trainings_of
from .trainings import announcement as sharing

NOT_CORRECTED = " (its intervals are not corrected for the looks; the verdicts above are)"
"""What is said of the page."""
OWN_SEEDS = "Added seeds do not count for the claims, since they were added because of what had been seen."
"""What is said of the claims."""


def sweep_until_settled(
    request: Request, options: SettleOptions, *, engine: str, jobs: int | None, say: Callable[[str], None]
) -> None:
    """Run a sweep, add seeds until its pairs are settled, and report on all of them.

    Raises SpecError before anything starts, RunError if runs failed, and Interrupted if it was stopped.
    """
    began = time.monotonic()
    grid = load_sweep(request.path, request.overrides)
    notes, seeded = preflight(grid), Seeded.of(request, grid)
    question = _question(seeded, options)
    folder = request.out / grid.name
    file = SettledFile(folder)
    looks = file.looks(question)
    with ExitStack() as stack:
        stop, bar = stack.enter_context(StopSignal()), stack.enter_context(Bar())
        workers = Workers(engine, jobs, stop, bar, began + (options.budget or math.inf))
        runs = SettleRuns(seeded, question.seeds, question.measure, workers)
        runs.look(seeded.own, grid.points)
        make_folder(folder)
        keep_claims(grid, folder)
        shared = sharing(trainings_of(grid.points), Progress.look(grid.points, request.out, folder))
        for line in [*(f"note: {note}" for note in notes), *shared, *announcement(question)]:
            bar.say(line)
        if changed := file.changed(question):
            bar.say(new_question(changed))
        bar.say(_most_work(runs, looks, question, options))

        def after(seeds: int, pairs: Sequence[Pair]) -> None:
            file.write(question, looks)
            for line in look_lines(question, looks, seeds, pairs):
                bar.say(line)

        failed = settle(question.rule, looks, runs, question.first, after)
    _report(question, looks, runs, say)
    say(f"settled: {file.path}")
    _raise_for(looks, runs, failed)


def _question(seeded: Seeded, options: SettleOptions) -> Question:
    """What is to be settled. Raises SpecError if the sweep and the options do not go together."""
    if len(seeded.first) > options.max_seeds:
        text = f"{options.max_seeds} is less than the sweep's own {len(seeded.first)} seeds"
        raise SpecError(text, field="--max-seeds")
    seeds = seeded.seeds(options.max_seeds)
    if len(seeds) > len(seeded.first):
        seeded.batch(seeds[-1])  # raises SpecError if seeds cannot be added
    measure = measure_of(options.measure, [seeded.point(spec, seeds[0]) for spec in range(len(seeded.names))])
    specs = dict(zip(seeded.names, seeded.hashes, strict=True))
    return Question(measure, options.rule, seeds, max(2, len(seeded.first)), specs)


def _most_work(runs: SettleRuns, looks: Looks, question: Question, options: SettleOptions) -> str:
    """The most runs that are still needed, and an estimate of their time."""
    own = question.seeds[: len(runs.seeded.first)]
    needed: dict[str, int] = {}
    for spec in {spec for pair in looks.still_open() for spec in pair}:
        finished = sum(runs.seeded.point(spec, seed).name in runs.done for seed in own)
        looked = looks.seeds_of(spec, len(question.seeds)) if looks.found else 0
        training = training_key(comparable(runs.seeded.point(spec, own[0])))
        needed[training] = max(needed.get(training, 0), len(question.seeds) - max(finished, looked))
    seconds = runs.seconds()
    each = fmean(seconds) if seconds else None
    return most_work(sum(needed.values()), each, runs.at_once(len(needed)), options.budget)


def _report(question: Question, looks: Looks, runs: SettleRuns, say: Callable[[str], None]) -> None:
    """Write the page, and say how the points ended, the verdicts, and what open pairs need."""
    say(table([*runs.trainings.values()], runs.result, runs.done, runs.folder))
    say(f"\n{verdict_table(question, looks)}\n")
    for line in [*runs.remarks(), *_open_pairs(question, looks, runs)]:
        say(line)
    grid, out = runs.seeded.grid, runs.seeded.request.out
    report_results(grid, out, [*runs.done.values()], say, NOT_CORRECTED)
    if grid.claims:
        say(OWN_SEEDS)


def _open_pairs(question: Question, looks: Looks, runs: SettleRuns) -> list[str]:
    """A line for each open pair, at most MOST_LINES."""
    lines = []
    for pair in looks.still_open()[:MOST_LINES]:
        last = looks.latest(pair)
        scores = family_scores(looks, runs, last[0], [*looks.found[last[0]]]) if last else {}
        lines.append(needs(question, looks, pair, scores))
    more = len(looks.still_open()) - len(lines)
    return [*lines, f"… and {more} more open pairs"] if more else lines


def _raise_for(looks: Looks, runs: SettleRuns, failed: frozenset[int]) -> None:
    """Raise Interrupted if the runs were stopped, or RunError if some failed."""
    settled = f"{len(looks.pairs) - len(looks.still_open())} of {len(looks.pairs)} pairs are settled"
    if runs.stopped:
        raise Interrupted(f"stopped; {settled}. The same command continues.")
    if failed:
        names = listed([runs.seeded.names[spec] for spec in sorted(failed)], MOST_LINES)
        raise RunError(
            f"runs of {names} failed, so that not all pairs can be settled; {settled}. "
            "The same command tries them again."
        )
