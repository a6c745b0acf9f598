"""Between ddpmx and the classes that plugins register: every method that ddpmx calls answers for what it raises and returns.

A class of ddpmx's own is left as it is, and costs nothing. Of another class, the methods that it has in the place of ddpmx's are
wrapped when it is registered. What they should return is said by the kind's base class, in `contract`.
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
"""(component, arguments, result) -> what the method should have returned instead, such as "should return 1, not 2"; empty: fine."""


@dataclass(frozen=True)
class Each:
    """A contract for the items of what a method returns, which may be a generator."""

    check: Check


@dataclass(frozen=True)
class Replace:
    """A contract that checks the result, and puts something that watches it in its place."""

    check: Check
    watch: Callable[[Any, Method, Arguments], object]


Contract = Mapping[str, Check | Each | Replace]


@dataclass(frozen=True)
class Method:
    """A plugin's method, or something that it made, as messages call it."""

    file: str
    text: str

    def failed(self, error: BaseException) -> BaseException:
        """What it raised as a PluginError, unless that is not the plugin's affair."""
        if faults.passes(error):
            return error
        line = faults.line_in(error, self.file)
        place = f"{self.file}:{line}" if line else self.file
        return PluginError(
            f"the plugin {place}: {self.text} failed: {faults.error_text(error)}",
            trace=faults.trace_of(error),
        )

    def refuse(self, problem: str) -> NoReturn:
        """Raises a PluginError for what it returned."""
        raise PluginError(f"the plugin {self.file}: {self.text} {problem}")

    def returned(self, check: Check | None, component: object, arguments: Arguments, result: object) -> None:
        """Raises a PluginError where the result is not what the contract says, or cannot even be looked at."""
        if check is None:
            return
        try:
            problem = check(component, arguments, result)
        except Exception as error:  # of an object that answers no question
            raise self.failed(error) from error
        if problem:
            self.refuse(problem)

    def call(self, function: Callable[..., T], check: Callable[[T], str], *arguments: object) -> T:
        """What a function of the plugin returns. Raises PluginError where it fails, or returns what the check finds fault with."""
        with faults.watched(self.who):
            try:
                result = function(*arguments)
            except BaseException as error:
                raise self.failed(error) from error
        self.returned(lambda _, given, value: check(value), None, {}, result)
        return result

    @property
    def who(self) -> str:
        return f"the plugin {self.file}: {self.text}"


def is_plugin(cls: type) -> bool:
    """Whether a class is not ddpmx's own."""
    return cls.__module__ != "ddpmx" and not cls.__module__.startswith("ddpmx.")


def guard(cls: type, kind: str, name: str, contract: Contract) -> None:
    """Wrap the methods and properties of a plugin's class that ddpmx calls."""
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
        ours = not is_plugin(owner) or getter.__module__.startswith("ddpmx.")  # it may be taken over by name
        if ours and not _is_stub(getter):
            continue
        file = faults.file_of(cls.__module__)
        method = Method(file, f"{cls.__qualname__.replace('<locals>.', '')}.{key}() of the {kind} '{name}'")
        wrapped = _wrapped(getter, method, contract.get(key), not ours, _parameters(cls, key))
        setattr(cls, key, property(wrapped) if isinstance(value, property) else wrapped)


def _is_stub(function: FunctionType) -> bool:
    """Whether it is for plugins to define."""
    return "NotImplementedError" in function.__code__.co_names


def _parameters(cls: type, key: str) -> list[str]:
    """The names of a method's arguments as ddpmx's own class has them, which a plugin may call otherwise."""
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
                    method.refuse("is needed, and the class does not define it")
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
