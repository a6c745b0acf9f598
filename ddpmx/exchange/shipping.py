"""The code of a network as one file that runs without ddpmx: the component's `build` and everything it uses.

It is collected from the sources: definitions are followed through the modules of ddpmx and of plugins, and
other libraries are imported.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType

import ddpmx

from ..components.registry import Component
from ..errors import SpecError

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign
BASE = "SimpleNamespace"
IN_TORCH = dict.fromkeys(("ddpmx.ops", "ddpmx.ops.layers"), "ddpmx.ops.layers.in_torch")
"""Modules with kernels, and the module that has the same functions in plain torch."""


def standalone(component: type[Component]) -> str:
    """Python that defines the component's class and everything that its methods use.

    The class takes its fields as keyword arguments. Raises SpecError if a source cannot be read, or if two
    modules define the same name.
    """
    bundle = _Bundle()
    bundle.add(sys.modules[component.__module__], component.__name__)
    imports = "\n".join(sorted(bundle.imports | {f"from types import {BASE}"}))
    return (
        f"from __future__ import annotations\n\n{imports}\n\n\n" + "\n\n\n".join(bundle.parts.values()) + "\n"
    )


def packages(code: str) -> list[str]:
    """The top-level modules that Python code imports, sorted, without those of the standard library."""
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return sorted(modules - sys.stdlib_module_names)


class _Bundle:
    """Definitions, in an order in which Python can run them."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.parts: dict[str, str] = {}
        self._owner: dict[str, str] = {}
        self._sources: dict[str, tuple[str, dict[str, Definition], dict[str, tuple[str, str]]]] = {}

    def add(self, module: ModuleType, name: str) -> None:
        """Add the definition of a module's `name`, after those that it uses."""
        text, definitions, imported = self._read(module)
        if name in imported:
            self._import(*imported[name], name)
        elif name in definitions:
            owner = self._owner.setdefault(name, module.__name__)
            if owner != module.__name__:
                raise SpecError(
                    f"its code cannot be exported: {owner} and {module.__name__} both define {name}"
                )
            if name in self.parts:
                return
            self.parts[name] = ""  # marks it as begun, because functions may use each other
            node = definitions[name]
            if _is_component(getattr(module, name)):
                assert isinstance(node, ast.ClassDef)
                node = self._plain(module, node)
                source = ast.unparse(node)
            else:
                source = _source(text, node)
            for used in _names(node):
                self.add(module, used)
            del self.parts[name]
            self.parts[name] = source

    def _import(self, module: str, name: str, alias: str) -> None:
        """Add an imported name: its definition if it is ddpmx's or a plugin's, otherwise the import."""
        if module == "ddpmx":
            if name not in ddpmx._MODULE_OF:
                raise SpecError(
                    f"its code cannot be exported: it uses 'ddpmx.{name}' when it runs",
                    hint="import the names that it uses: from ddpmx import …",
                )
            module = f"ddpmx.{ddpmx._MODULE_OF[name]}"
        if module.startswith("ddpmx."):
            self.add(sys.modules[IN_TORCH.get(module, module)], name)
            if alias != name:
                self.parts.setdefault(alias, f"{alias} = {name}")
        elif name:
            self.imports.add(f"from {module} import {name}" + (f" as {alias}" if alias != name else ""))
        else:
            self.imports.add(f"import {module}" + (f" as {alias}" if alias != module.split(".")[0] else ""))

    def _plain(self, module: ModuleType, node: ast.ClassDef) -> ast.ClassDef:
        """The class of a component with only its methods, without fields, validators and registration."""
        methods: list[ast.stmt] = [
            part for part in node.body if isinstance(part, ast.FunctionDef) and not _validates(part)
        ]
        bases = [
            base
            for base in node.bases
            if isinstance(base, ast.Name) and _has_network(getattr(module, base.id))
        ]
        plain = copy.copy(node)
        plain.bases, plain.keywords, plain.decorator_list = (
            list(bases) or [ast.Name(BASE, ast.Load())],
            [],
            [],
        )
        plain.body = methods or [ast.Pass()]
        return plain

    def _read(self, module: ModuleType) -> tuple[str, dict[str, Definition], dict[str, tuple[str, str]]]:
        """The text of a module, its definitions by name, and its imports: alias -> (module, name)."""
        if module.__name__ not in self._sources:
            try:
                text = inspect.getsource(module)
            except (OSError, TypeError) as error:
                raise SpecError(f"its code cannot be exported: {error}") from None
            definitions: dict[str, Definition] = {}
            imported: dict[str, tuple[str, str]] = {}
            for node in ast.parse(text).body:
                for name in _defined(node):
                    definitions[name] = node  # type: ignore[assignment]
                if isinstance(node, ast.Import):
                    imported |= {
                        alias.asname or alias.name.split(".")[0]: (alias.name, "") for alias in node.names
                    }
                elif isinstance(node, ast.ImportFrom):
                    above = (module.__package__ or "").split(".")
                    above = above[: len(above) - node.level + 1] if node.level else []
                    home = ".".join([*above, *([node.module] if node.module else [])])
                    imported |= {alias.asname or alias.name: (home, alias.name) for alias in node.names}
            self._sources[module.__name__] = (text, definitions, imported)
        return self._sources[module.__name__]


def _is_component(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Component)


def _has_network(value: object) -> bool:
    """Whether a component's base class is a registered component, as ddpmx's base of all models is not."""
    return _is_component(value) and bool(getattr(value, "component_name", ""))


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _validates(node: ast.FunctionDef) -> bool:
    """Whether it is a pydantic validator, which a component without fields does not need."""
    return any("validator" in ast.unparse(decorator) for decorator in node.decorator_list)


def _names(node: ast.AST) -> Iterator[str]:
    """The names that a definition uses when it runs. Annotations do not run."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Name):
                yield child.id
            if isinstance(child, ast.AST):
                yield from _names(child)


def _source(text: str, node: Definition) -> str:
    """The source of a definition as it is written, including comments and decorators."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
