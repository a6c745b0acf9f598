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
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from .errors import SpecError, closest, nearest
from .text import shortened

if TYPE_CHECKING:
    from .data import Dataset
    from .metrics import Metric
    from .models import Model
    from .optimizers import Optimizer
    from .predictions import Prediction
    from .samplers import Sampler
    from .schedules import Schedule
    from .times import Time
    from .trackers import Tracker
    from .weightings import Weighting


class _Removed:
    """What `null` over an inherited key leaves behind: None where the field allows it, else no key at all."""

    def __repr__(self) -> str:
        return "null"


REMOVED = _Removed()
SAID = "said"
"""The type of a pydantic error whose message is ours."""
MISSING = "required, and not given"


class Strict(BaseModel):
    """A block of the spec: no unknown keys, no coercion, no NaN, immutable."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        validate_default=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _from_yaml(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        unknown = [key for key, value in data.items() if key not in cls.model_fields and value is not REMOVED]
        out: dict[str, Any] = {}
        for key, value in data.items():
            if key not in cls.model_fields:
                continue
            kinds = _kinds(cls.model_fields[key].annotation)
            if value is REMOVED:
                if type(None) in kinds:
                    out[key] = None
            else:  # YAML has one kind of sequence; pydantic's strict mode tells lists from tuples
                out[key] = tuple(value) if isinstance(value, list) and tuple in kinds else value
        if not unknown:
            return handler(out)
        findings = [finding((key,), f"unknown key; {nearest(str(key), cls.model_fields)}") for key in unknown]
        try:
            handler(out)
        except ValidationError as error:
            misspelt = [((closest(str(key), cls.model_fields),), MISSING) for key in unknown]
            findings += [finding(*found) for found in describe(error) if found not in misspelt]
        raise ValidationError.from_exception_data(cls.__name__, findings)


def finding(path: tuple[str | int, ...], message: str) -> InitErrorDetails:
    """A part of a pydantic error whose text `describe` returns as it is."""
    return InitErrorDetails(type=PydanticCustomError(SAID, "{said}", {"said": message}), loc=path, input=None)


def _kinds(annotation: Any) -> set[Any]:
    """The run-time types that an annotation admits at its top level."""
    if get_origin(annotation) is tuple:
        return {tuple}
    return {annotation}.union(*(_kinds(arg) for arg in get_args(annotation)))


class Component(Strict):
    """Base of everything that a spec can name. Its fields are the keys of its block."""

    component_name: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    def spec(self) -> dict[str, Any]:
        """The block that builds this component again: `{name: …, field: value, …}`, JSON types only."""
        return {"name": self.component_name, **self.model_dump(mode="json")}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").strip().split("\n")[0]


C = TypeVar("C", bound=Component)


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

    def register(self, name: str, *, paper: str = "", aliases: tuple[str, ...] = ()) -> Callable[[type[C]], type[C]]:
        """Class decorator. Raises SpecError when a name is taken, the base class is wrong or a field is called `name`."""

        def add(cls: type[C]) -> type[C]:
            importlib.import_module(self._home)  # the built-ins take their names first
            for taken in (name, *aliases):
                if taken in self._classes or taken in self._aliases:
                    owner = self._classes[self._aliases.get(taken, taken)]
                    raise SpecError(f"the {self.kind} '{taken}' is registered already, by {owner.__module__}.{owner.__qualname__}")
            if not issubclass(cls, self.base):
                raise SpecError(f"the {self.kind} '{name}' ({cls.__qualname__}) must inherit from ddpmx.{self._base}")
            if "name" in cls.model_fields:
                raise SpecError(f"the {self.kind} '{name}' has a field called 'name', which a spec's blocks reserve")
            cls.component_name, cls.paper = name, paper
            self._classes[name] = cls
            self._aliases.update(dict.fromkeys(aliases, name))
            return cls

        return add

    def names(self) -> list[str]:
        """All registered names, sorted, without aliases."""
        importlib.import_module(self._home)
        return sorted(self._classes)

    def get(self, name: str) -> type[C]:
        """The class of that name or alias; SpecError with the nearest name otherwise."""
        importlib.import_module(self._home)
        try:
            return self._classes[self._aliases.get(name, name)]
        except KeyError:
            raise SpecError(f"unknown {self.kind} '{shortened(name)}'", hint=nearest(name, [*self._classes, *self._aliases])) from None

    def build(self, name: str, **parameters: Any) -> C:
        """A component of that name. Raises SpecError for an unknown name, an unknown parameter or a wrong value."""
        try:
            return self.get(name).model_validate(parameters)
        except ValidationError as error:
            raise spec_error(error) from None


def describe(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Path and text of each finding of a pydantic error, in our words."""
    return [(found["loc"], _in_words(found)) for found in error.errors(include_url=False)]


def spec_error(error: ValidationError) -> SpecError:
    """The findings of a pydantic error, each placed at its field."""
    return SpecError.of(SpecError(message, field=".".join(map(str, path))) for path, message in describe(error))


def _in_words(found: ErrorDetails) -> str:
    kind, message, given = found["type"], found["msg"], found["input"]
    if kind == SAID:
        return message
    if kind == "missing":
        return MISSING
    if kind == "model_type":
        return "should be a block of fields"
    if kind == "tuple_type":
        return "should be a list" + _list_hint(given)
    if kind == "string_pattern_mismatch":
        return f"should match {found['ctx']['pattern']}, not {shortened(repr(given))}"
    message = message.removeprefix("Value error, ").replace("Input should be", "should be")
    message = message.replace("Tuple should have", "should be a list of").replace("tuple", "list").replace(" after validation", "")
    return f"{message}, not {shortened(repr(given))}" if isinstance(given, str | int | float | bool | None) else message


def _list_hint(given: Any) -> str:
    if isinstance(given, Mapping) and given and all(str(key).isdecimal() for key in given):  # an override such as metrics.0=fid
        return f": there is no item {shortened(str(next(iter(given))))} to change, so give all of it, as in [1, 2]"
    if not isinstance(given, str | int | float | bool | None):
        return ""
    return f", not {shortened(repr(given))}" + (f"; did you mean [{shortened(str(given))}]?" if given not in (None, "") else "")


class Slot:
    """Annotation of a field that holds a component: `Annotated[Schedule, Slot(SCHEDULES)]`.

    In YAML `{name: linear, timesteps: 500}`, or a bare string for `{name: string}`. A mapping without `name` changes
    parameters of `default`.
    """

    def __init__(self, registry: Registry[Any], default: dict[str, Any] | None = None) -> None:
        self.registry, self.default = registry, default

    def parse(self, value: Any) -> Any:
        """A component from what YAML gives. Raises the errors that pydantic collects."""
        if isinstance(value, Component):
            if isinstance(value, self.registry.base):
                return value
            raise PydanticCustomError("wrong_kind", "should be a {kind}", {"kind": self.registry.kind})
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("not_a_block", "should be the name of a {kind} or a block with `name:`", {"kind": self.registry.kind})
        if "name" not in value and self.default is not None:
            value = {**self.default, **value}
        name = value.get("name")
        if not isinstance(name, str):
            hint = nearest(str(name), self.registry.names())
            raise ValidationError.from_exception_data(self.registry.kind, [finding((), f"should have a `name:`, a string; {hint}")])
        try:
            component = self.registry.get(name)
        except SpecError as error:
            details = [finding(("name",), f"{error.message}; {error.hint}")]
            raise ValidationError.from_exception_data(self.registry.kind, details) from None
        return component.model_validate({key: item for key, item in value.items() if key != "name"})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(lambda component: component.spec())
        return core_schema.no_info_plain_validator_function(self.parse, serialization=dump)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A block for each registered component, plugins included; completion in editors reads this.

        Inside a component of the same kind, which would not end, only the names.
        """
        blocks: list[dict[str, Any]] = [{"enum": self.registry.names()}]
        if self.registry.describing:
            return {"anyOf": [*blocks, {"type": "object", "required": ["name"], "properties": {"name": blocks[0]}}]}
        self.registry.describing = True
        for name in self.registry.names():
            component = self.registry.get(name)
            block = component.model_json_schema()
            block.pop("$defs", None)
            block["properties"] = {"name": {"const": name}, **block.get("properties", {})}
            block["required"] = ["name", *block.get("required", [])]
            block["title"] = name
            block["description"] = component.summary()
            blocks.append(block)
        self.registry.describing = False
        return {"anyOf": blocks}


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

REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (DATASETS, MODELS, SCHEDULES, TIMES, PREDICTIONS, WEIGHTINGS, SAMPLERS, METRICS, TRACKERS, OPTIMIZERS)
}
