"""The conformance suite: what every component of a kind must do. `ddpmx check plugin.py` runs it.
May be imported by cli.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..components.registry import REGISTRIES, Component, Registry
from ..errors import SpecError
from .suites import SUITES

__all__ = ["Finding", "conformance"]


@dataclass(frozen=True)
class Finding:
    """The result of one check of one component."""

    check: str
    """What was checked."""
    figure: str = ""
    """What was measured; empty if nothing was."""
    problem: str = ""
    """What is wrong; empty if the check passed."""


def conformance(component: type[Component], **parameters: object) -> Iterator[Finding]:
    """Check a registered component that is built with these parameters: one finding for each check.

    A schedule is built with several numbers of timesteps T. Kinds without a suite yield no findings.
    """
    kind = _registry(component).kind
    if kind not in SUITES:
        return
    try:
        subject = component if kind == "schedule" else component.model_validate(parameters)
    except ValueError as error:
        yield Finding("can be built with its defaults", problem=str(error).splitlines()[-2].strip())
        return
    for check, run in SUITES[kind](subject):
        try:
            figure = run()
        except (AssertionError, SpecError) as error:
            yield Finding(check, problem=str(error))
        else:
            yield Finding(check, figure or "")


def _registry(component: type[Component]) -> Registry[Component]:
    for registry in REGISTRIES.values():
        if issubclass(component, registry.base):
            return registry
    raise SpecError(f"{component.__qualname__} is not a component: it inherits from no registry's base class")
