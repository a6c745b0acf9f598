"""Guarding calls into plugins, so that an error or a wrong result names the plugin and its method.

When a plugin's class is registered, each method in it that overrides one of ddpmx's is wrapped. The
`contract` of the kind's base class says what the method should return. ddpmx's own classes are not wrapped,
and so cost nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NoReturn, TypeVar

from ..errors import PluginError
from . import faults

T = TypeVar("T")
Arguments = Mapping[str, Any]
Check = Callable[[Any, Arguments, Any], str]
"""(component, arguments, result) -> a message such as "should return 1, not 2"; empty if the result is
right."""


@dataclass(frozen=True)
class Each:
    """A contract for each item of an iterable result, such as a generator."""

    check: Check
    """The check of an item."""


@dataclass(frozen=True)
class Replace:
    """A contract that checks a result and replaces it, for example by a wrapper that checks its use."""

    check: Check
    """The check of the result."""
    watch: Callable[[Any, Method, Arguments], object]
    """(result, method, arguments) -> the replacement."""


Contract = Mapping[str, Check | Each | Replace]


@dataclass(frozen=True)
class Method:
    """A plugin's method, or an object that it made, as messages name it."""

    file: str
    """The plugin's file."""
    text: str
    """The method's name and component: `Mine.beta() of the schedule 'mine'`."""

    def failed(self, error: BaseException) -> BaseException:
        """The error that the method raised as a PluginError, or unchanged if it is not the plugin's fault."""
        if faults.passes(error):
            return error
        line = faults.line_in(error, self.file)
        place = f"{self.file}:{line}" if line else self.file
        return PluginError(
            f"the plugin {place}: {self.text} failed: {faults.error_text(error)}",
            trace=faults.trace_of(error),
        )

    def refuse(self, problem: str) -> NoReturn:
        """Raise PluginError with that problem."""
        raise PluginError(f"the plugin {self.file}: {self.text} {problem}")

    def returned(self, check: Check | None, component: object, arguments: Arguments, result: object) -> None:
        """Check a result. Raises PluginError if it breaks the contract or makes the check fail."""
        if check is None:
            return
        try:
            problem = check(component, arguments, result)
        except Exception as error:  # the result may be an object that fails at any use
            raise self.failed(error) from error
        if problem:
            self.refuse(problem)

    def call(self, function: Callable[..., T], check: Callable[[T], str], *arguments: object) -> T:
        """Call a function of the plugin. Raises PluginError if it fails or returns a wrong result."""
        with faults.watched(self.who):
            try:
                result = function(*arguments)
            except BaseException as error:
                raise self.failed(error) from error
        self.returned(lambda _, arguments, value: check(value), None, {}, result)
        return result

    @property
    def who(self) -> str:
        """The plugin and the method, at the start of a sentence."""
        return f"the plugin {self.file}: {self.text}"


def is_plugin(cls: type) -> bool:
    """Whether a class comes from a plugin rather than from ddpmx."""
    return cls.__module__ != "ddpmx" and not cls.__module__.startswith("ddpmx.")


def guard(cls: type, kind: str, name: str, contract: Contract) -> None:
    """Wrap the methods and properties of a plugin's class that ddpmx calls, with checks from `contract`."""
    faults.add_module(cls.__module__)
    known = {
        key
        for base in cls.__mro__
        if not is_plugin(base) and base.__module__.startswith("ddpmx.")
        for key in vars(base)
    }
    for key in sorted(known):
        if key.startswith("__") or key.startswith("model_"):
            continue
        owner = next(base for base in cls.__mro__ if key in vars(base))
        value = vars(owner)[key]
        getter = value.fget if isinstance(value, property) else value
        if not inspect.isfunction(getter) or hasattr(getter, "of_plugin"):
            continue
        # A plugin's class may also assign one of ddpmx's functions to a name of its own.
        ours = not is_plugin(owner) or getter.__module__.startswith("ddpmx.")
        if ours and not _is_stub(getter):
            continue
        file = faults.file_of(cls.__module__)
        method = Method(file, f"{cls.__qualname__.replace('<locals>.', '')}.{key}() of the {kind} '{name}'")
        wrapped = _wrapped(getter, method, contract.get(key), not ours, _parameters(cls, key))
        setattr(cls, key, property(wrapped) if isinstance(value, property) else wrapped)


def _is_stub(function: FunctionType) -> bool:
    """Whether a function raises NotImplementedError, which leaves it to plugins to define."""
    return "NotImplementedError" in function.__code__.co_names


def _parameters(cls: type, key: str) -> list[str]:
    """The parameter names of a method in ddpmx's own class; a plugin may give them other names."""
    for base in cls.__mro__:
        function = vars(base).get(key)
        if not is_plugin(base) and inspect.isfunction(function):
            return list(inspect.signature(function).parameters)[1:]
    return []


def _wrapped(
    function: Callable[..., object],
    method: Method,
    contract: Check | Each | Replace | None,
    defined: bool,
    names: list[str],
) -> Callable[..., object]:
    @functools.wraps(function)
    def guarded(self: object, *args: object, **kwargs: object) -> object:
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        with faults.watched(method.who):
            try:
                result = function(self, *args, **kwargs)
            except NotImplementedError as error:
                if not defined:
                    method.refuse("is required, but the class does not define it")
                raise method.failed(error) from error
            except BaseException as error:
                raise method.failed(error) from error
        if isinstance(contract, Each):
            if isinstance(result, Iterable):
                return _items(result, method, contract.check, self, arguments)
            method.returned(contract.check, self, arguments, result)
            return result
        if isinstance(contract, Replace):
            method.returned(contract.check, self, arguments, result)
            return contract.watch(result, method, arguments)
        method.returned(contract, self, arguments, result)
        return result

    guarded.of_plugin = method  # type: ignore[attr-defined]
    return guarded


def _items(
    result: Iterable[object], method: Method, check: Check, component: object, arguments: Arguments
) -> Iterator[object]:
    iterator = iter(result)
    while True:
        with faults.watched(method.who):
            try:
                item = next(iterator)
            except StopIteration:
                return
            except BaseException as error:
                raise method.failed(error) from error
        method.returned(check, component, arguments, item)
        yield item
