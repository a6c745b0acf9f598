"""Files are UTF-8 whatever the locale, and everything works without a locale."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import TINY

PACKAGE = Path(__file__).parents[1] / "ddpmx"
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def texts_without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that read or write text in the locale's encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        modes = [value for value in given if isinstance(value, str) and set(value) <= set("rwaxbt+")]
        text_file = (
            name == "open" and not any("b" in mode for mode in modes) and ast.unparse(node.func) not in OTHERS
        )
        piped = any(word.arg == "text" for word in node.keywords)
        of_a_path = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
        if of_a_path or name == "TextIOWrapper" or text_file or piped:
            yield node


OTHERS = ("os.open", "Image.open", "cls.open", "Trackers.open", "tracker.open", "fsspec.open", "self.open")


def test_no_file_depends_on_the_locale() -> None:
    found = {
        file: texts_without_encoding(ast.parse(file.read_text(encoding="utf-8")))
        for file in PACKAGE.rglob("*.py")
    }
    assert [
        f"{file}:{call.lineno}: {ast.unparse(call)}" for file, calls in found.items() for call in calls
    ] == []


def test_the_search_finds_them() -> None:
    bad = ["open('x')", "path.open('w')", "path.read_text()", "run([], text=True)"]
    good = [
        "os.open(p, 1)",
        "path.open('rb')",
        "path.write_text('', encoding='utf-8')",
        "read_text(path, 10)",
    ]
    source = "\n".join([*bad, *good])
    assert [call.lineno for call in texts_without_encoding(ast.parse(source))] == [1, 2, 3, 4]


def test_everything_works_where_the_locale_is_ascii(tmp_path: Path) -> None:
    """Run eight commands in one process whose streams, files and file names are ASCII. The data and their
    names are not."""
    (tmp_path / "tiny.yaml").write_text(TINY + "# é\n", encoding="utf-8")
    (tmp_path / "plugin.py").write_text(
        "import ddpmx\nfrom ddpmx.weightings.constant import Constant\n\n"
        '@ddpmx.WEIGHTINGS.register("odd")\nclass Odd(Constant):\n    """ß ≤ ü"""\n',
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, **ASCII},
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert b"Traceback" not in done.stderr
    for page in ("show.html", "é.html"):
        assert "ᾱ" in (tmp_path / page).read_text(encoding="utf-8")


COMMANDS = """
import sys
from pathlib import Path
from ddpmx.cli import main

def ddpmx(*arguments, code=0):
    sys.argv = ["ddpmx", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        assert stop.code == code, (arguments, stop.code)

ddpmx("list")
ddpmx("list", "schedule", "cosine", "--json")
ddpmx("schema")
ddpmx("validate", "tiny.yaml")
ddpmx("show", "tiny.yaml", "--out", "show.html")
ddpmx("run", "tiny.yaml", "-s", "train.steps=2")
(run,) = Path("runs").glob("*/*")
ddpmx("sample", run, "-n", 2, "--out", "x.png")
ddpmx("compare", run, "--html", "compare.html", "--csv", "compare.csv")
ddpmx("export", run, "exported", "--to", "diffusers")
ddpmx("check", "plugin.py")
name = bytes([0xC3, 0xA9]).decode("ascii", "surrogateescape")  # as Python decodes an argument
ddpmx("run", name + ".yaml", code=2)
ddpmx("show", "tiny.yaml", "--out", name + ".html")
"""
