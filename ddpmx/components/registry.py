"""Components, the registries that name them, and how a spec's block becomes one.

A component is its parameters: a frozen, strict pydantic model whose fields are the YAML keys, the `list` output and
the JSON Schema, written once. A plugin is such a class with one method::

    @ddpmx.SCHEDULES.register("my_schedule")
    class MySchedule(ddpmx.Schedule):
        power: float = 2.0
        def beta(self): ...
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from ..errors import SpecError, nearest
from ..plugins import faults
from ..plugins.guard import Contract, Method, guard, is_plugin
from ..text import shortened
from .in_words import spec_error
from .strict import Strict

if TYPE_CHECKING:
    from ..data import Dataset
    from ..metrics import Metric
    from ..models import Model
    from ..optimizers import Optimizer
    from ..predictions import Prediction
    from ..samplers import Sampler
    from ..schedules import Schedule
    from ..times import Time
    from ..trackers import Tracker
    from ..weightings import Weighting


NAME, MAX_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", 100
"""What a name of a component is, as of a spec."""


class Component(Strict):
    """Base of everything that a spec can name. Its fields are the keys of its block."""

    component_name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    contract: ClassVar[Contract] = {}
    """What the methods of a plugin's class should return, by their names; beside what its base class says."""

    def spec(self) -> dict[str, object]:
        """The block that builds this component again: `{name: …, field: value, …}`, JSON types only."""
        return {"name": self.component_name, **self.model_dump(mode="json")}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").strip().split("\n")[0]


C = TypeVar("C", bound=Component, covariant=True)  # so that all registries together are those of components


class Registry(Generic[C]):
    """Names for the components of one kind. `home` is the module that holds the base class and the built-ins; it is
    imported at the first look-up."""

    def __init__(self, kind: str, home: str, base: str) -> None:
        self.kind, self._home, self._base = kind, home, base
        self._classes: dict[str, type[C]] = {}
        self._aliases: dict[str, str] = {}
        self.describing = False
        """Whether a schema of all its components is being made."""

    @property
    def base(self) -> type[C]:
        """The class that every component of this kind inherits from."""
        return getattr(importlib.import_module(self._home), self._base)  # type: ignore[no-any-return]

    def register(
        self, name: str, *, paper: str = "", aliases: tuple[str, ...] = ()
    ) -> Callable[[type[C]], type[C]]:
        """Class decorator. Raises SpecError when a name is taken or is no name, the base class is wrong or a field is called `name`."""

        def add(cls: type[C]) -> type[C]:
            importlib.import_module(self._home)  # the built-ins take their names first
            if not isinstance(aliases, tuple | list):
                raise SpecError(
                    f"the aliases of the {self.kind} '{name}' should be a tuple of names, not {shortened(repr(aliases))}"
                )
            for taken in (name, *aliases):
                if not isinstance(taken, str) or not re.fullmatch(NAME, taken) or len(taken) > MAX_NAME:
                    text = f"the {self.kind} {shortened(repr(taken))} cannot be registered: a name has letters, digits, _ - . only"
                    raise SpecError(text, hint=f"at most {MAX_NAME}, and it begins with no point")
                if taken in self._classes or taken in self._aliases:
                    owner = self._classes[self._aliases.get(taken, taken)]
                    raise SpecError(
                        f"the {self.kind} '{taken}' is registered already, by {owner.__module__}.{owner.__qualname__}"
                    )
            if not isinstance(cls, type):
                raise SpecError(f"the {self.kind} '{name}' should be a class, not {shortened(repr(cls))}")
            if not issubclass(cls, self.base):
                raise SpecError(
                    f"the {self.kind} '{name}' ({getattr(cls, '__qualname__', shortened(repr(cls)))}) must inherit from ddpmx.{self._base}"
                )
            if "name" in cls.model_fields:
                raise SpecError(
                    f"the {self.kind} '{name}' has a field called 'name', which a spec's blocks reserve"
                )
            cls.component_name, cls.paper = name, paper
            self._classes[name] = cls
            self._aliases.update(dict.fromkeys(aliases, name))
            if is_plugin(cls):
                guard(cls, self.kind, name, cls.contract)
            return cls

        return add

    def names(self) -> list[str]:
        """All registered names, sorted, without aliases."""
        importlib.import_module(self._home)
        return sorted(self._classes)

    def has(self, name: str) -> bool:
        """Whether a component has that name or alias."""
        importlib.import_module(self._home)
        return name in self._classes or name in self._aliases

    def get(self, name: str) -> type[C]:
        """The class of that name or alias; SpecError with the nearest name otherwise."""
        importlib.import_module(self._home)
        try:
            return self._classes[self._aliases.get(name, name)]
        except KeyError:
            raise SpecError(
                f"unknown {self.kind} '{shortened(name)}'",
                hint=nearest(name, [*self._classes, *self._aliases]),
            ) from None

    def build(self, name: str, **parameters: object) -> C:
        """A component of that name. Raises SpecError for an unknown name, an unknown parameter or a wrong value."""
        try:
            return make(self.get(name), parameters)
        except ValidationError as error:
            raise spec_error(error) from None


def make(component: type[C], parameters: Mapping[str, object]) -> C:
    """A component with these parameters. Raises ValidationError, and PluginError for a plugin's class that cannot even be made."""
    if not is_plugin(component):
        return component.model_validate(parameters)
    method = method_of(component)
    with faults.watched(method.who):
        try:
            return component.model_validate(parameters)
        except ValidationError:
            raise
        except BaseException as error:
            raise method.failed(error) from error


def method_of(component: type[Component]) -> Method:
    """How messages call a plugin's class itself."""
    name = component.__qualname__.replace("<locals>.", "")
    return Method(faults.file_of(component.__module__), f"{name}, which is '{component.component_name}',")


DATASETS: Registry[Dataset] = Registry("dataset", "ddpmx.data", "Dataset")
MODELS: Registry[Model] = Registry("model", "ddpmx.models", "Model")
SCHEDULES: Registry[Schedule] = Registry("schedule", "ddpmx.schedules", "Schedule")
TIMES: Registry[Time] = Registry("time", "ddpmx.times", "Time")
PREDICTIONS: Registry[Prediction] = Registry("prediction", "ddpmx.predictions", "Prediction")
WEIGHTINGS: Registry[Weighting] = Registry("weighting", "ddpmx.weightings", "Weighting")
SAMPLERS: Registry[Sampler] = Registry("sampler", "ddpmx.samplers", "Sampler")
METRICS: Registry[Metric] = Registry("metric", "ddpmx.metrics", "Metric")
TRACKERS: Registry[Tracker] = Registry("tracker", "ddpmx.trackers", "Tracker")
OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", "ddpmx.optimizers", "Optimizer")

REGISTRIES: dict[str, Registry[Component]] = {
    registry.kind: registry
    for registry in (
        DATASETS,
        MODELS,
        SCHEDULES,
        TIMES,
        PREDICTIONS,
        WEIGHTINGS,
        SAMPLERS,
        METRICS,
        TRACKERS,
        OPTIMIZERS,
    )
}
