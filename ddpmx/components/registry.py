"""Components, the registries that hold them by name, and the making of a component from a spec's block.

A component is a frozen, strict pydantic model of its parameters. Its fields define the keys in YAML, the
output of `ddpmx list` and the JSON Schema. A plugin is such a class, often with a single method::

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
    from ..emas import Ema
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
"""The pattern and the greatest length of a name, of components as of specs."""


class Component(Strict):
    """Base class of everything that a spec can name. Its fields are the keys of its block."""

    component_name: ClassVar[str] = ""
    """The name under which the class is registered."""
    paper: ClassVar[str] = ""
    """The source of the method."""
    contract: ClassVar[Contract] = {}
    """Checks of what a plugin's methods return, by method name."""

    def spec(self) -> dict[str, object]:
        """The block that builds an equal component: `{name: …, field: value, …}`, JSON types only."""
        return {"name": self.component_name, **self.model_dump(mode="json")}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").strip().split("\n")[0]


C = TypeVar("C", bound=Component, covariant=True)  # a Registry[Sampler] is also a Registry[Component]


class Registry(Generic[C]):
    """The components of one kind, by name.

    `home` is the module of the base class, named `base`, and of the built-in components. It is imported at
    the first look-up.
    """

    def __init__(self, kind: str, home: str, base: str) -> None:
        self.kind, self._home, self._base = kind, home, base
        self._classes: dict[str, type[C]] = {}
        self._aliases: dict[str, str] = {}
        self.describing = False
        """Whether the JSON Schema of the components is being made; it must not contain itself."""

    @property
    def base(self) -> type[C]:
        """The class that every component of this kind inherits from."""
        return getattr(importlib.import_module(self._home), self._base)  # type: ignore[no-any-return]

    def register(
        self, name: str, *, paper: str = "", aliases: tuple[str, ...] = ()
    ) -> Callable[[type[C]], type[C]]:
        """A class decorator that registers a component.

        Raises SpecError if a name is invalid or taken, if the class does not inherit from the kind's base
        class, or if it has a field called `name`.
        """

        def add(cls: type[C]) -> type[C]:
            importlib.import_module(self._home)  # the built-in components take their names first
            if not isinstance(aliases, tuple | list):
                given = shortened(repr(aliases))
                raise SpecError(
                    f"the aliases of the {self.kind} '{name}' should be a tuple of names, not {given}"
                )
            for new in (name, *aliases):
                if not isinstance(new, str) or not re.fullmatch(NAME, new) or len(new) > MAX_NAME:
                    raise SpecError(
                        f"the {self.kind} {shortened(repr(new))} cannot be registered:"
                        " a name may have letters, digits, _ - . only",
                        hint=f"use at most {MAX_NAME} characters, and do not begin with a dot",
                    )
                if new in self._classes or new in self._aliases:
                    owner = self._classes[self._aliases.get(new, new)]
                    by = f"{owner.__module__}.{owner.__qualname__}"
                    raise SpecError(f"the {self.kind} '{new}' is registered already, by {by}")
            if not isinstance(cls, type):
                raise SpecError(f"the {self.kind} '{name}' should be a class, not {shortened(repr(cls))}")
            if not issubclass(cls, self.base):
                class_name = getattr(cls, "__qualname__", shortened(repr(cls)))
                raise SpecError(
                    f"the {self.kind} '{name}' ({class_name}) must inherit from ddpmx.{self._base}"
                )
            if "name" in cls.model_fields:
                raise SpecError(
                    f"the {self.kind} '{name}' has a field called 'name', which is reserved; rename it"
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
        """Whether a component is registered under that name or alias."""
        importlib.import_module(self._home)
        return name in self._classes or name in self._aliases

    def get(self, name: str) -> type[C]:
        """The class of that name or alias. Raises SpecError, with the nearest name, if there is none."""
        importlib.import_module(self._home)
        try:
            return self._classes[self._aliases.get(name, name)]
        except KeyError:
            raise SpecError(
                f"unknown {self.kind} '{shortened(name)}'",
                hint=nearest(name, [*self._classes, *self._aliases]),
            ) from None

    def build(self, name: str, **parameters: object) -> C:
        """Make a component. Raises SpecError for an unknown name or parameter, or an invalid value."""
        try:
            return make(self.get(name), parameters)
        except ValidationError as error:
            raise spec_error(error) from None


def make(component: type[C], parameters: Mapping[str, object]) -> C:
    """Make a component. Raises ValidationError for wrong parameters, PluginError if a plugin fails."""
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
    """A plugin's class itself, as a Method that messages can name."""
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
EMAS: Registry[Ema] = Registry("ema", "ddpmx.emas", "Ema")

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
        EMAS,
    )
}
