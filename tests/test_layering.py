"""The architecture that ddpmx/__init__.py draws: imports point only downwards, through the doors that
packages name.

An import that only type checkers run counts too: what is annotated is used at run time. Exempt are the
modules that name the classes behind a registry or a slot, since those name kinds, and use none.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ddpmx"
TREE = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())).split("::")[1].split("\n\n`")[0]
LEVELS = [[name.strip() for name in level.split(",")] for level in TREE.split("->")]
LEVEL = {name: depth for depth, names in enumerate(LEVELS) for name in names}
FILES = [
    file
    for file in PACKAGE.rglob("*.py")
    if file.parts[len(PACKAGE.parts)] not in ("__init__.py", "__main__.py")
]
PACKAGES = sorted({file.parent.relative_to(PACKAGE).parts[0] for file in FILES if file.parent != PACKAGE})
NAMES_KINDS = ("components/registry.py", "spec/slots.py")
PUBLIC_FUNCTIONS = ("run", "train", "load", "sample", "evaluate", "compare", "sweep")
EVERYONE, NOBODY = "every package above", "no package"


def part(file: Path) -> str:
    """The module or package directly in ddpmx that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(node: ast.AST, file: Path) -> Iterator[str]:
    """The parts of ddpmx that a file imports, inside its functions and for type checkers too."""
    only_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    if only_types and str(file.relative_to(PACKAGE)) in NAMES_KINDS:
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ddpmx."))
    if isinstance(node, ast.ImportFrom):
        above = file.relative_to(PACKAGE.parent).parts[: -node.level] if node.level else ()
        path = (*above, *(node.module or "").split(".")) if node.module else above
        if path[0] == "ddpmx":
            yield from path[1:2] or (alias.name for alias in node.names if not alias.name.startswith("__"))
    for child in ast.iter_child_nodes(node):
        yield from imports(child, file)


def importers(package: str) -> set[str]:
    """The packages that may import one, as its docstring says from its second line on."""
    docstring = ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text()))
    found = re.fullmatch(r"May be imported by ([a-z_, ]+)[.:].*", " ".join(docstring.split("\n")[1:]))
    assert found, f"{package}/__init__.py does not say from its second line on who may import it"
    if found[1] == EVERYONE:
        return {name for name in LEVEL if LEVEL[name] < LEVEL[package]}
    return set() if found[1] == NOBODY else set(found[1].split(", "))


USES = [
    (file, used)
    for file in FILES
    for used in imports(ast.parse(file.read_text()), file)
    if used != part(file)
]


def test_every_module_has_its_place_in_the_tree():
    assert {part(file) for file in FILES} == set(LEVEL)


def test_imports_point_downwards():
    assert [
        f"{file.relative_to(PACKAGE)} imports {used}"
        for file, used in USES
        if LEVEL[used] <= LEVEL[part(file)]
    ] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_by_those_that_it_names(package: str):
    strangers = [file for file, used in USES if used == package and part(file) not in importers(package)]
    assert [str(file.relative_to(PACKAGE)) for file in strangers] == []


def test_no_circles():
    graph: dict[str, set[str]] = {}
    for file, used in USES:
        graph.setdefault(part(file), set()).add(used)
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_few_modules_lie_directly_in_ddpmx_and_none_has_the_name_of_a_public_function():
    assert len(list(PACKAGE.glob("*.py"))) <= 10
    assert {part(file) for file in FILES}.isdisjoint(PUBLIC_FUNCTIONS)


def test_ops_knows_rows_and_errors_only():
    assert [
        f"{file.name} imports {used}"
        for file, used in USES
        if part(file) == "ops" and used not in ("rows", "errors")
    ] == []


def test_what_plans_does_not_touch_ops():
    planners = ("schedules", "times", "predictions", "weightings", "samplers")
    assert [file.name for file, used in USES if part(file) in planners and used == "ops"] == []
