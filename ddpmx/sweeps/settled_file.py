"""`settled.json` in a sweep's folder: the questions that `--until-settled` was asked, with all their looks.

A question is a measure, a rule and some specs. Its looks are written as they happen, so that the same command
continues where it ended. With another margin, measure or number of seeds it is another question, and the
answers to both are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..errors import SpecError
from ..files import kind, read_text
from ..outputs import cannot_write
from ..storage.atomic import write_atomically
from ..terminal.console import to_json
from ..theory.sequential import Settling, Verdict
from ..training.events import OPEN, first_problem
from .looks import Better, Finding, Looks

NAME = "settled.json"
MAX_BYTES = 100_000_000


@with_config(OPEN)
class PairFound(TypedDict):
    """What a look found about a pair of specs; see `Finding`."""

    a: str
    b: str
    verdict: Verdict
    difference: float
    low: float | None
    high: float | None
    margin: float
    better: Better


@with_config(OPEN)
class LookFound(TypedDict):
    """A look, with the pairs that were not settled before it."""

    seeds: int
    pairs: list[PairFound]


@with_config(OPEN)
class Answer(TypedDict):
    """A question and its looks so far."""

    measure: str
    margin: float
    """In units of the score; a share of the mean of a pair's scores if `relative`."""
    relative: bool
    max_seeds: int
    alpha: float
    seeds: list[int]
    """All seeds that a spec may get, in their order."""
    first: int
    """The number of seeds at the first look."""
    specs: dict[str, str]
    """A hash of each spec without its seed, by its name."""
    looks: list[LookFound]


@with_config(OPEN)
class Settled(TypedDict):
    """The content of the file."""

    questions: list[Answer]
    """The one that was asked last is the last one."""


@dataclass(frozen=True)
class Question:
    """What is to be settled, fixed before the first look."""

    measure: str
    rule: Settling
    seeds: tuple[int, ...]
    """All seeds that a spec may get, in their order."""
    first: int
    """The number of seeds at the first look, at least 2."""
    specs: Mapping[str, str]
    """A hash of each spec without its seed, by its name."""

    @property
    def names(self) -> list[str]:
        """The names of the specs, in their order."""
        return list(self.specs)

    def answer(self, looks: Looks) -> Answer:
        """The question with these looks, as JSON types."""
        rule, names = self.rule, self.names
        return {
            "measure": self.measure,
            "margin": rule.margin,
            "relative": rule.relative,
            "max_seeds": rule.max_seeds,
            "alpha": rule.alpha,
            "seeds": list(self.seeds),
            "first": self.first,
            "specs": dict(self.specs),
            "looks": [
                {"seeds": seeds, "pairs": [_pair(names[i], names[k], one) for (i, k), one in found.items()]}
                for seeds, found in sorted(looks.found.items())
            ],
        }

    def changes(self, other: Answer) -> list[str]:
        """The keys in which another question differs from this one."""
        own = self.answer(Looks(len(self.specs)))
        return [key for key, value in own.items() if key != "looks" and value != other.get(key)]

    def looks(self, answer: Answer) -> Looks:
        """The looks of an answer to this question."""
        positions = {name: index for index, name in enumerate(self.names)}
        looks = Looks(len(positions))
        for look in answer["looks"]:
            found = looks.found[look["seeds"]] = {}
            for one in look["pairs"]:
                i, k = positions[one["a"]], positions[one["b"]]
                finding = Finding(
                    one["verdict"], one["difference"], one["low"], one["high"], one["margin"], one["better"]
                )
                found[min(i, k), max(i, k)] = finding if i < k else -finding
        return looks


class SettledFile:
    """The file of a sweep's folder. Raises SpecError if it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._answers = _read(self.path) if kind(self.path) != "missing" else []

    def looks(self, question: Question) -> Looks:
        """The looks at a question so far; none if it is a new one."""
        same = [answer for answer in self._answers if not question.changes(answer)]
        return question.looks(same[-1]) if same else Looks(len(question.specs))

    def changed(self, question: Question) -> list[str]:
        """The keys in which a new question differs from the last one; empty if it is not new."""
        changes = [question.changes(answer) for answer in self._answers]
        return changes[-1] if changes and all(changes) else []

    def write(self, question: Question, looks: Looks) -> None:
        """Write the looks at a question, beside the answers to others.

        Raises RunError if the disk fails, SpecError if the file cannot be written for another reason.
        """
        others = [answer for answer in self._answers if question.changes(answer)]
        self._answers = [*others, question.answer(looks)]
        try:
            write_atomically(self.path, to_json({"questions": self._answers}) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error, "--out") from None


@cache
def _adapter() -> TypeAdapter[Settled]:
    return TypeAdapter(Settled)


def _read(path: Path) -> list[Answer]:
    try:
        answers = _adapter().validate_json(read_text(path, MAX_BYTES))["questions"]
    except ValidationError as error:
        problem = first_problem(error)
    else:
        strangers = [name for answer in answers for name in _strangers(answer)]
        if not strangers:
            return answers
        problem = f"there is no spec '{strangers[0]}'"
    raise SpecError(
        f"{path} is damaged: {problem}",
        hint="without it, the same command looks again at the runs that there are",
    )


def _strangers(answer: Answer) -> list[str]:
    """The names of pairs that are not those of the answer's specs."""
    named = [name for look in answer["looks"] for one in look["pairs"] for name in (one["a"], one["b"])]
    return [name for name in named if name not in answer["specs"]]


def _pair(a: str, b: str, found: Finding) -> PairFound:
    return {
        "a": a,
        "b": b,
        "verdict": found.verdict,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "margin": found.margin,
        "better": found.better,
    }
