"""Classes of a class-conditional network: labels in training, and the classes that a user asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..errors import SpecError
from ..ops import Purpose, stream
from ..text import shortened
from .experiment import Experiment

LABEL_DROPOUT = 0.1
"""Default of `train.label_dropout`, in the range of 0.1 to 0.2 that Ho & Salimans 2022, arXiv:2207.12598,
found best."""


def labels_with_dropout(experiment: Experiment, ids: Tensor, step: int) -> Tensor | None:
    """Labels of the training images `ids`, int64 [b]; None for a network without classes.

    Each is replaced by "no class" with probability `train.label_dropout`, as a function of (seed, step, id).
    """
    spec, labels = experiment.spec, experiment.data.train.labels
    if labels is None or not experiment.classes:
        return None
    probability = LABEL_DROPOUT if spec.train.label_dropout is None else spec.train.label_dropout
    dropped = ops.uniform(ids, stream(Purpose.LABEL, step), spec.seed) < probability
    return torch.where(dropped, len(experiment.classes), labels[ids])


def parse_classes(text: str, names: Sequence[str]) -> list[int]:
    """Indices of the classes listed in `text` by name or number, separated by commas.

    A name may contain commas: the longest name that matches is taken, and quotes ("a,b") mark where a name
    begins and ends. A word that is both a name and a number is read as the name. Raises SpecError for an
    unknown class, listing all valid ones.
    """
    spellings = {name.strip(): index for index, name in reversed([*enumerate(names)])}
    spellings |= {f'"{name}"': index for index, name in enumerate(names)}
    indices, rest, has_more = [], text.strip(), True
    while has_more:
        matches = [spelling for spelling in spellings if _begins_with(rest, spelling)]
        word = max(matches, key=len) if matches else rest.partition(",")[0].strip()
        number = int(word) if not matches and len(word) < 20 and word.isdecimal() else len(names)
        if not matches and number >= len(names):
            valid = ", ".join(name if name == str(i) else f"{i} {name}" for i, name in enumerate(names))
            raise SpecError(f"there is no class '{shortened(word)}'", hint=f"valid: {valid}")
        indices.append(spellings[word] if matches else number)
        _, comma, rest = rest[len(word) :].partition(",")
        rest, has_more = rest.strip(), bool(comma)
    return indices


def _begins_with(text: str, word: str) -> bool:
    """Whether the text is the word, alone or followed by a comma."""
    return text.startswith(word) and text[len(word) :].lstrip()[:1] in ("", ",")
