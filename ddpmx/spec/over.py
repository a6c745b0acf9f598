"""`evaluate.over`: a grid of evaluations of one training, as one spec for each combination."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

from ..errors import Findings, Mark, SpecError
from ..text import shortened
from .checks import check
from .evaluation import check_varied
from .loading import option, valid
from .schema import Spec
from .source import KeyPath, Source, nested
from .yaml_source import parse

MOST = 10_000
"""Most combinations of one grid."""
FIELD = "evaluate.over"


def over_changes(texts: Sequence[str], name: str = "--over") -> list[Source]:
    """The changes that FIELD=V1,V2,… make; they replace the fields that the spec has in `evaluate.over`.

    Values are YAML. Raises SpecError for text of another form and for fields that cannot vary.
    """
    changes = [option(name, " ".join(texts), FIELD, None)] if texts else []
    known: set[str] = set()
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        mark = Mark(f"{name} {shortened(text)}")
        if not equals or not key or not values:
            example = "evaluate.sampler.steps=5,10"
            raise SpecError(f"'{shortened(text)}' should be FIELD=V1,V2,… such as {example}", mark=Mark(name))
        if key in known:
            raise SpecError("is given twice: list all values in one option", field=key, mark=mark)
        known.add(key)
        try:
            check_varied(key)
        except ValueError as error:
            raise SpecError(str(error), mark=mark) from None
        try:
            listed = parse(f"[{values}]", mark.file).data
        except SpecError as error:
            raise SpecError(error.message, field=key, mark=mark, hint=error.hint) from None
        path = (*FIELD.split("."), key)
        changes.append(Source(nested(path, listed), {path: mark}))
    return changes


def evaluations(spec: Spec) -> list[Spec]:
    """The spec with each combination of the values in `evaluate.over`; none if there are no such fields.

    A combination that sets a component's name keeps the parameters of the old one that are not its defaults,
    as far as the new one has them. The first field changes slowest. Raises SpecError with the findings of all
    combinations that cannot work.
    """
    over = spec.evaluate.over
    if not over:
        return []
    grid = list(itertools.product(*over.values()))
    if len(grid) > MOST:
        raise spec.error(FIELD, f"has {len(grid):,} combinations, more than the maximum of {MOST:,}")
    base, specs, findings = _base(spec), list[Spec](), Findings()
    for values in grid:
        chosen = dict(zip(over, values, strict=True))
        with findings.collect():
            try:
                specs.append(_varied(spec, base, chosen))
            except SpecError as error:
                raise error.each(partial(_in_combination, spec, chosen)) from None
    findings.report()
    return specs


def _base(spec: Spec) -> Source:
    """The resolved spec, without parameters of the evaluation's sampler that have their default value."""
    data = spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update={"over": {}})}).resolved()
    evaluate, sampler = data["evaluate"], spec.evaluate.sampler
    assert isinstance(evaluate, dict)
    defaults = type(sampler).model_fields
    evaluate["sampler"] = {
        key: value
        for key, value in sampler.spec().items()
        if key == "name" or getattr(sampler, key) != defaults[key].get_default(call_default_factory=True)
    }
    paths: list[KeyPath] = [("evaluate", "sampler", key) for key in evaluate["sampler"]]
    marks = {path: spec._source.mark(path) or Mark(spec.name) for path in paths}
    return Source(data, marks).layer()  # the marks tell that these keys were written for this sampler


def _varied(spec: Spec, base: Source, chosen: dict[str, object]) -> Spec:
    """The spec with the chosen values, checked."""
    source = base
    for field, value in chosen.items():
        source = source.merge(Source(nested(tuple(field.split(".")), value)))
    varied = valid(source, spec.name)
    check(varied)
    return varied


def _in_combination(spec: Spec, chosen: dict[str, object], error: SpecError) -> SpecError:
    """The error of a combination, at the field of `evaluate.over` that caused it."""
    blamed = next((field for field in chosen if _overlap(field, error.field)), next(iter(chosen)))
    names = ", ".join(f"{field}={shortened(str(value))}" for field, value in chosen.items())
    path = ("evaluate", "over", blamed)
    return SpecError(
        f"{error.field}: {error.message}, in the combination {names}",
        field=FIELD,
        mark=spec._source.mark(path),
        hint=error.hint,
        trace=error.trace,
    )


def _overlap(field: str, other: str) -> bool:
    """Whether one of two dotted fields contains the other."""
    return f"{field}.".startswith(f"{other}.") or f"{other}.".startswith(f"{field}.")
