"""The texts that tell a sweep's points apart: their names, which are folders, and their labels.

A label is a name without the sweep's name and the seed, by which points that differ only in their seed are
one: `losses-vlb1-seed_3` has the label `vlb1`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from ..runs.known_runs import comparable, seedless_key
from ..spec.schema import Spec
from .axes import SEED, UNSAFE, Choice

MAX_NAME = 100
"""Characters of a point's name, and of its label."""
Combination = tuple[Choice, ...]
"""A choice of each axis, which makes a point."""


def names_of(sweep: str, combinations: Sequence[Combination]) -> list[str]:
    """A folder name for each point: the sweep's name and the point's choices."""
    texts = [_joined([sweep, *(choice.label for choice in combination)]) for combination in combinations]
    contents = [
        [[choice.label, choice.change.data] for choice in combination] for combination in combinations
    ]
    return _told_apart(texts, contents)


def labels_of(sweep: str, combinations: Sequence[Combination]) -> list[str]:
    """A label for each point: its choices without the seed, or the sweep's name if there are no others."""
    texts = [_joined([choice.seedless for choice in combination]) or sweep for combination in combinations]
    contents = [[_without_seed(choice) for choice in combination] for combination in combinations]
    return _told_apart(texts, contents)


def spec_hash(spec: Spec) -> str:
    """A hash of all that decides a spec's results but its seed."""
    return _hash(seedless_key(comparable(spec)))[:16]


def _joined(parts: Sequence[str]) -> str:
    return "-".join(UNSAFE.sub("_", part) for part in parts if part)


def _without_seed(choice: Choice) -> list[object]:
    change = choice.change.data
    return [choice.seedless, {key: value for key, value in change.items() if key != SEED}]


def _told_apart(texts: Sequence[str], contents: Sequence[object]) -> list[str]:
    """The texts; one that is too long, or that stands for different contents, ends in a hash of its own."""
    hashes = [_hash(json.dumps(content))[:8] for content in contents]
    different = Counter(text for text, _ in set(zip(texts, hashes, strict=True)))
    return [
        text if len(text) <= MAX_NAME and different[text] == 1 else f"{text[: MAX_NAME - 9]}-{hash}"
        for text, hash in zip(texts, hashes, strict=True)
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
