"""Imports point only downwards in the tree that ddpmx/errors.py draws, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ddpmx"
TREE = ast.get_docstring(ast.parse((PACKAGE / "errors.py").read_text())).split("::")[1].split("\n\n`")[0]
LEVELS = [[name.strip() for name in level.split(",")] for level in TREE.split("->")]
LEVEL = {name: depth for depth, names in enumerate(LEVELS) for name in names}
FILES = [file for file in PACKAGE.rglob("*.py") if file.parts[len(PACKAGE.parts)] not in ("__init__.py", "__main__.py")]


def part(file: Path) -> str:
    """A module or package of ddpmx, by the name that the tree knows it by."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(node: ast.AST, file: Path) -> Iterator[str]:
    """The parts of ddpmx that a file imports at run time, inside its functions too."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
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


USES = [(file, used) for file in FILES for used in imports(ast.parse(file.read_text()), file) if used != part(file)]


def test_every_module_has_its_place_in_the_tree():
    assert {part(file) for file in FILES} == set(LEVEL)


def test_imports_point_downwards():
    placed = [(file, used) for file, used in USES if part(file) in LEVEL and used in LEVEL]
    assert [f"{file.name} imports {used}" for file, used in placed if LEVEL[used] < LEVEL[part(file)]] == []


def test_no_circles():
    graph: dict[str, set[str]] = {}
    for file, used in USES:
        graph.setdefault(part(file), set()).add(used)
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_ops_knows_rows_and_errors_only():
    assert [f"{file.name} imports {used}" for file, used in USES if part(file) == "ops" and used not in ("rows", "errors")] == []


def test_what_plans_does_not_touch_ops():
    planners = ("schedules", "times", "predictions", "weightings", "samplers")
    assert [file.name for file, used in USES if part(file) in planners and used == "ops"] == []
