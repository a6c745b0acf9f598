"""Ways in which a spec can name a plugin of somebody else's run folder without being that run's spec."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import TINY


def extending(run: Path, place: Path) -> Path:
    (place / "own.yaml").write_text(f"extends: {run}/spec.yaml\nname: own\n")
    return place / "own.yaml"


def extending_twice(run: Path, place: Path) -> Path:
    (place / "middle.yaml").write_text(
        f"extends: {run.name}/spec.yaml\n" if run.parent == place else f"extends: {run}/spec.yaml\n"
    )
    (place / "own.yaml").write_text("extends: middle.yaml\nname: own\n")
    return place / "own.yaml"


def copied(run: Path, place: Path) -> Path:
    text = (run / "spec.yaml").read_text().replace("plugins/mine.py", str(run / "plugins" / "mine.py"))
    (place / "copy.yaml").write_text(text)
    return place / "copy.yaml"


def through_dots(run: Path, place: Path) -> Path:
    text = (
        (run / "spec.yaml")
        .read_text()
        .replace("plugins/mine.py", f"{run}/samples/../plugins/../plugins/mine.py")
    )
    (place / "copy.yaml").write_text(text)
    return place / "copy.yaml"


def renamed(run: Path, place: Path) -> Path:
    for name in ("environment.json", "metrics.jsonl"):
        (run / name).write_text("{}")
    return (run / "spec.yaml").rename(run / "mine.yaml")


def linked(run: Path, place: Path) -> Path:
    (place / "link.yaml").symlink_to(run / "spec.yaml")
    return place / "link.yaml"


def linked_folder(run: Path, place: Path) -> Path:
    (place / "project").symlink_to(run)
    return place / "project" / "spec.yaml"


def linked_plugin(run: Path, place: Path) -> Path:
    """A link out of the run folder, to a file that this user has but has never run."""
    (run / "plugins" / "mine.py").rename(place / "elsewhere.py")
    (run / "plugins" / "mine.py").symlink_to(place / "elsewhere.py")
    return run / "spec.yaml"


def outside(run: Path, place: Path) -> Path:
    """A run's spec that names a plugin beside the run folder."""
    (run / "plugins" / "mine.py").rename(run.parent / "mine.py")
    (run / "spec.yaml").write_text((run / "spec.yaml").read_text().replace("plugins/mine.py", "../mine.py"))
    return run / "spec.yaml"


def into_the_users_list(run: Path, place: Path) -> Path:
    """A run's spec that extends the user's spec and changes only one of its plugins."""
    (place / "users.py").write_text("")
    (place / "users.yaml").write_text(TINY + "plugins: [users.py]\n")
    (run / "plugins" / "mine.py").rename(run.parent / "mine.py")
    (run / "spec.yaml").write_text(f"extends: {place}/users.yaml\nplugins: {{'0': {run.parent}/mine.py}}\n")
    return run / "spec.yaml"


def without_facts(run: Path, place: Path) -> Path:
    for name in ("status.json", "metrics.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    return run / "spec.yaml"


DISGUISES = [
    extending,
    extending_twice,
    copied,
    through_dots,
    renamed,
    linked,
    linked_folder,
    linked_plugin,
    outside,
]
DISGUISES += [into_the_users_list, without_facts]
