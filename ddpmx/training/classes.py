"""The classes of a network that is told them: what training shows of them, and which ones a user asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..errors import SpecError
from ..ops import Purpose, stream
from ..text import shortened
from .experiment import Experiment

LABEL_DROPOUT = 0.1  # in the range of 0.1 to 0.2 that Ho & Salimans 2022, arXiv:2207.12598, found best


def shown_labels(experiment: Experiment, ids: Tensor, step: int) -> Tensor | None:
    """What the network is told of the training images `ids`: their labels, int64 [b], some replaced by "no class".

    Which ones is drawn for (seed, step, id), with probability `train.label_dropout`. None for a network without classes.
    """
    spec, labels = experiment.spec, experiment.data.train.labels
    if labels is None or not experiment.classes:
        return None
    share = LABEL_DROPOUT if spec.train.label_dropout is None else spec.train.label_dropout
    hidden = ops.uniform(ids, stream(Purpose.LABEL, step), spec.seed) < share
    return torch.where(hidden, len(experiment.classes), labels[ids])


def parse_classes(text: str, names: Sequence[str]) -> list[int]:
    """Indices of the classes in `text`, which has their names or numbers with commas between.

    A name may hold commas: the longest that fits counts, and quotes ("a,b") say where one begins and ends. What is both a
    name and a number is the name. Raises SpecError for one that `names` lacks, with all that there are.
    """
    spellings = {name.strip(): index for index, name in reversed([*enumerate(names)])}
    spellings |= {f'"{name}"': index for index, name in enumerate(names)}
    found, rest, more = [], text.strip(), True
    while more:
        fits = [spelling for spelling in spellings if _begins_with(rest, spelling)]
        word = max(fits, key=len) if fits else rest.partition(",")[0].strip()
        number = int(word) if not fits and len(word) < 20 and word.isdecimal() else len(names)
        if not fits and number >= len(names):
            valid = ", ".join(name if name == str(i) else f"{i} {name}" for i, name in enumerate(names))
            raise SpecError(f"there is no class '{shortened(word)}'", hint=f"valid: {valid}")
        found.append(spellings[word] if fits else number)
        _, comma, rest = rest[len(word) :].partition(",")
        rest, more = rest.strip(), bool(comma)
    return found


def _begins_with(text: str, word: str) -> bool:
    """Whether the text is the word, or goes on with a comma behind it."""
    return text.startswith(word) and text[len(word) :].lstrip()[:1] in ("", ",")
