"""`--until-settled` in words: what is to be done, what each look found, and what would settle the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..terminal.time_left import roughly
from ..text import number
from ..theory.estimate import Estimate, amount
from ..theory.power import in_words
from ..theory.scores import SpecScores
from ..theory.sequential import Pair, Settling
from .looks import Finding, Looks
from .settled_file import Question

MOST_LINES = 12
"""Most pairs that are listed after a look."""


def announcement(question: Question) -> list[str]:
    """What is to be settled, and by which rule."""
    specs, rule = len(question.specs), question.rule
    pairs = specs * (specs - 1) // 2
    return [
        f"{specs} specs, {pairs} {'pair' if pairs == 1 else 'pairs'} to settle by {question.measure}: "
        f"{', '.join(question.names)}",
        f"a pair is settled when it differs, or is equivalent within {margin(rule)} (two one-sided tests); "
        f"verdicts of each kind are wrong in at most {rule.alpha * 100:g} % of cases, over all pairs and all "
        f"looks with 2 to {rule.max_seeds} seeds together",
    ]


def margin(rule: Settling) -> str:
    """The margin of a rule."""
    return f"±{number(rule.margin * 100)} % of its mean" if rule.relative else f"±{number(rule.margin)}"


def most_work(missing: int, each: float | None, at_once: int, budget: float | None) -> str:
    """How many runs are missing at most, and how long they take, if `each` run takes so many seconds."""
    text = f"at most {missing:,} {'run' if missing == 1 else 'runs'} more"
    if each is not None:
        text += f", about {roughly(each)} each and {roughly(each * -(-missing // at_once))} in all"
    elif missing:
        text += "; how long they take is known once one has finished"
    return text if budget is None else f"{text}; none is started after {roughly(budget)}"


def new_question(changed: Sequence[str]) -> str:
    """That earlier looks answer another question."""
    return (
        f"a new question: {', '.join(changed)} changed since the last one. Its looks start anew, and the "
        "errors of its verdicts are counted by themselves"
    )


def look_lines(question: Question, looks: Looks, seeds: int, pairs: Sequence[Pair]) -> list[str]:
    """What the look with `seeds` found about these pairs."""
    total, left = len(looks.pairs), len(looks.still_open())
    lines = [
        f"  {in_sentence(question, pair, looks.found[seeds][pair])}"
        for pair in sorted(pairs, key=lambda pair: looks.found[seeds][pair].verdict == "open")
    ]
    more = [f"  … and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [
        f"with {seeds} seeds, {total - left} of {total} {'pair' if total == 1 else 'pairs'} settled",
        *lines[:MOST_LINES],
        *more,
    ]


def in_sentence(question: Question, pair: Pair, found: Finding) -> str:
    """A finding as a sentence, such as `l1 is better than l2: −0.5 ± 0.2`."""
    return f"{verdict(question, pair, found)}: {_difference(found)} (margin {number(found.margin)})"


def verdict(question: Question, pair: Pair, found: Finding) -> str:
    """A verdict in words, with the names of the specs."""
    a, b = (question.names[spec] for spec in pair)
    if found.verdict == "differs":
        return f"{a} is better than {b}" if found.first_is_better else f"{a} is worse than {b}"
    return f"{a} and {b} are equivalent" if found.verdict == "equivalent" else f"{a} and {b}: open"


def verdict_table(question: Question, looks: Looks) -> str:
    """A line for each pair: the verdict, the difference, the margin and the seeds of the look."""
    rows = [["verdict", f"difference of {question.measure}", "margin", "seeds"]]
    for pair in looks.pairs:
        last = looks.latest(pair)
        if last is None:
            a, b = (question.names[spec] for spec in pair)
            rows.append([f"{a} and {b}: open", "", "", ""])
        else:
            seeds, found = last
            text = verdict(question, pair, found)
            rows.append([text, _difference(found), number(found.margin), str(seeds)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def needs(question: Question, looks: Looks, pair: Pair, scores: Mapping[int, SpecScores]) -> str:
    """What would settle an open pair, from the scores of its last look: what shows the margin, or more."""
    i, k = pair
    last = looks.latest(pair)
    if last is None or not {i, k} <= set(scores):
        return f"{question.names[i]} and {question.names[k]}: two seeds of each are needed for a verdict"
    found, positions = last[1], list(scores)
    family = question.rule.one_look([*scores.values()])
    size = found.margin if abs(found.difference) < found.margin else None
    text = in_words(family, positions.index(i), positions.index(k), size)
    return f"{question.names[i]} and {question.names[k]}: {text}"


def _difference(found: Finding) -> str:
    interval = None if found.low is None or found.high is None else (found.low, found.high)
    return amount(Estimate(found.difference, interval), seeds=2, sign=True).replace("-", "−")
