"""Prints constraints.txt: the installed version of every direct or indirect requirement of ddpmx[dev].

make pins
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import requires as requirements_of
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Not required by ddpmx; pinned because only one version works with the pinned torch.
COMPANIONS = ("torchvision",)
UNPINNED = ("fuzz",)  # an extra that ddpmx[dev] does not install


def declared() -> list[str]:
    """The requirements in pyproject.toml, with all extras except UNPINNED."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in UNPINNED]
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [line for line in lines if Requirement(line).name != project["name"]]


def closure(lines: Iterable[str]) -> set[str]:
    """The canonical names of all packages that these requirements install on this platform."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for below in map(Requirement, requirements_of(name) or ()):
            if below.marker is None or any(
                below.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            ):
                waiting.append(below)
    return {name for name, _ in seen}


if __name__ == "__main__":
    print("# Exact versions for development and CI, on Linux with Python 3.11. Written by `make pins`.")
    for name in sorted(closure([*declared(), *COMPANIONS])):
        print(f"{name}=={version(name)}")
