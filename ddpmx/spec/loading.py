"""From files and `-s` overrides to a Spec: `extends`, plugins, and errors that say where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from ..components.in_words import findings_of
from ..components.strict import UNSET
from ..errors import Findings, Mark, SpecError
from ..files import expanded, resolved
from ..plugins import loading as plugins
from ..plugins import trust
from ..text import shortened
from .diagnosis import other_errors
from .inherited import without_inherited
from .schema import Spec
from .source import KeyPath, Source, nested, value_at
from .yaml_source import MAX_DEPTH, parse, read, refuse_unprintable

OVERRIDE = "-s"
MOST_REPEATED = 100
"""Characters of an override that a message repeats."""
MAX_FILES = 100
"""Read for one spec, a file as often as others extend it."""


Override = str | Source
"""A change of a spec: KEY=VALUE as `-s` takes it, or what another option makes of its value (`option`)."""


def load(path: Path | str, overrides: Iterable[Override] = ()) -> Spec:
    """Read, merge and validate a spec file. Raises SpecError, placed at its file and line."""
    source = merged(path, overrides)
    if "sweep" in source.data:
        hint = "`ddpmx sweep` runs them all, --point NAME picks one"
        raise SpecError(
            "the file describes several runs", field="sweep", mark=source.mark(("sweep",)), hint=hint
        )
    return validated(source, path)


def load_run(run: Path, overrides: Iterable[Override] = ()) -> Spec:
    """The spec of a run's folder. Raises SpecError also where it would run plugins that this user never ran
    here."""
    return validated(merged(run / "spec.yaml", overrides), run / "spec.yaml", run)


def plugins_of(source: Source) -> list[str]:
    """The plugins of merged data; what is no name there is a type error that Spec reports."""
    listed = source.data.get("plugins")
    return [plugin for plugin in listed if isinstance(plugin, str)] if isinstance(listed, list) else []


def merged(path: Path | str, overrides: Iterable[Override] = ()) -> Source:
    """The file over what it extends, and the overrides over both; not validated, and its `sweep`, if any, as
    it is written."""
    source = _read(Path(path), (), count(1))
    findings = Findings()
    for change in overrides:
        with findings.collect():
            source = source.merge(override(change) if isinstance(change, str) else change)
    findings.report()
    if source.data.get("sweep", UNSET) in (None, UNSET):
        source.data.pop("sweep", None)
    return source


def validated(source: Source, path: Path | str, run: Path | None = None) -> Spec:
    """The Spec that merged data findings_of, with their plugins loaded; `path` is blamed for what stands
    nowhere.

    `run` is the run's folder whose spec this is. Raises SpecError with all that is wrong, also for plugins of
    a run that may be a stranger's.
    """
    _make_absolute(source)
    plugins.load_installed()
    _load_plugins(source, Path(path), run)
    data, notes = without_inherited(source.layer())
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        places = [
            (keys, source.mark(_known(source.data, keys)) or Mark(str(path), 1), message)
            for keys, message in findings_of(error)
        ]
        found = [
            SpecError(message, field=".".join(map(str, keys)), mark=mark) for keys, mark, message in places
        ]
        found += other_errors(source, data, (keys for keys, _, _ in places))
        files = list(dict.fromkeys(finding.mark.file for finding in found if finding.mark))
        found.sort(
            key=lambda finding: (
                (files.index(finding.mark.file), finding.mark.line) if finding.mark else (len(files), 0)
            )
        )
        raise SpecError.of(found) from None
    spec._source, spec._notes = source, tuple(notes)
    return spec


def _load_plugins(source: Source, path: Path, run: Path | None) -> None:
    """Run the plugins that merged data name, all of them or, where one may not run, none."""
    found: list[trust.Plugin] = []
    names, findings = plugins_of(source), Findings()
    for index, name in enumerate(names):
        at: list[KeyPath] = [("plugins",), ("plugins", index), ("plugins", str(index))]
        marks = [source.marks[key] for key in at if key in source.marks]
        written = (
            [Path(mark.file) for mark in marks if mark.line] if marks else [path]
        )  # a mark without a line is an override's
        with findings.collect(), _at_plugin(source, index):
            found.append(trust.find(name, *written, run=run if written else None))
    findings.report()
    strange = [plugin for plugin in found if not plugin.may_run]
    if strange:
        raise SpecError(
            f"the run {strange[0].run} brings code that you have not run on this machine: {', '.join(p.name for p in strange)}",
            field="plugins",
            mark=source.mark(("plugins",)),
            hint="a plugin can do all that you can; if you trust it, --allow-plugins runs it",
        )
    for index, plugin in enumerate(found):
        with findings.collect(), _at_plugin(source, index):
            plugin.load()
    findings.report()


@contextmanager
def _at_plugin(source: Source, index: int) -> Iterator[None]:
    """Place a SpecError at the plugin of that number."""
    try:
        yield
    except SpecError as error:
        raise error.at(f"plugins.{index}", source.mark(("plugins", index))) from None


def _read(path: Path, above: tuple[Path, ...], files: Iterator[int]) -> Source:
    if next(files) > MAX_FILES:
        raise SpecError(
            f"extends more than {MAX_FILES} files, those counted that are extended again", field="extends"
        )
    here = resolved(path)
    if here in above:
        raise SpecError(
            f"extends itself, through {' -> '.join(p.name for p in (*above, here))}",
            field="extends",
            mark=Mark(str(path), 1),
        )
    source = read(path)
    bases = source.data.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise SpecError(
            "should be a file or a list of files", field="extends", mark=source.mark(("extends",))
        )
    listed = source.data.get("plugins")
    if isinstance(listed, list):
        with _at(("plugins",), source.mark(("plugins",))):
            source.data["plugins"] = [_plugin(item, here.parent) for item in listed]
    merged, findings = Source(), Findings()
    for index, base in enumerate(bases):
        with findings.collect():
            try:
                merged = merged.merge(_read(path.parent / expanded(base), (*above, here), files))
            except SpecError as error:
                asked = source.mark(("extends", index))
                raise error.each(partial(_at_extends, asked)) from None
    findings.report()
    return merged.merge(source).layer()


def _at_extends(mark: Mark | None, error: SpecError) -> SpecError:
    """An error of a base file, placed at the line that extends it unless it has a place of its own."""
    return error if error.mark else error.at("extends", mark)


def option(name: str, given: object, key: str, value: object) -> Source:
    """An override that another option than -s stands for: errors name the option and what it was given."""
    keys = tuple(key.split("."))
    return Source(nested(keys, value), {keys: Mark(f"{name} {shortened(str(given), MOST_REPEATED)}")})


def override(text: str) -> Source:
    """The change that KEY=VALUE makes, each key marked with it. Raises SpecError."""
    key, equals, value = text.partition("=")
    if (
        not equals
        or not key.strip()
        or not all(key.strip().split("."))
        or not value.strip()
        or key.count(".") >= MAX_DEPTH
    ):
        raise SpecError(
            f"'{shortened(text)}' should be KEY=VALUE, such as train.lr=1e-4", mark=Mark(OVERRIDE)
        )
    refuse_unprintable(key, Mark(OVERRIDE))
    mark = Mark(f"{OVERRIDE} {shortened(text, MOST_REPEATED)}")
    try:
        value_source = parse(value, mark.file)
    except SpecError as error:
        raise error.each(
            lambda found: SpecError(found.message, field=key.strip(), mark=mark, hint=found.hint)
        ) from None
    keys = tuple(key.strip().split("."))
    if keys[0] == "sweep":  # whose keys are dotted fields themselves
        outer = {"zip": 2, "points": 3}.get(keys[1] if len(keys) > 1 else "", 1)
        keys = (*keys[:outer], *filter(None, [".".join(keys[outer:])]))
    return Source(nested(keys, value_source.data), {(*keys, *inner): mark for inner in value_source.marks})


def _make_absolute(source: Source) -> None:
    """Paths are relative to the file they stand in (an override's to the working folder)."""
    tracked = source.data.get("track")
    places: list[KeyPath] = [("dataset", "path"), ("train", "init_from")]
    evaluate = source.data.get("evaluate")
    measured = evaluate.get("metrics") if isinstance(evaluate, dict) else None
    places += [
        ("evaluate", "metrics", i, "weights")
        for i in range(len(measured) if isinstance(measured, list) else 0)
    ]
    places += [("track", i, "path") for i in range(len(tracked) if isinstance(tracked, list) else 0)]
    for place in places:
        block, leaf = value_at(source.data, place[:-1]), place[-1]
        if isinstance(block, dict) and isinstance(block.get(leaf), str):
            mark = source.mark(place)
            folder = Path.cwd() if mark is None or mark.file.startswith(OVERRIDE) else Path(mark.file).parent
            with _at(place, mark):
                block[leaf] = str(resolved(folder / expanded(block[leaf])))
                refuse_unprintable(block[leaf], mark or Mark(OVERRIDE))  # a run's spec.yaml could not hold it
    listed = source.data.get("plugins")
    if isinstance(listed, list):  # those of files are absolute already
        with _at(("plugins",), source.mark(("plugins",))):
            source.data["plugins"] = [_plugin(item, Path.cwd()) for item in listed]


def _plugin(item: object, folder: Path) -> object:
    """A plugin's file by its absolute path; a module, and what is no name, as it is."""
    return str(resolved(folder / expanded(item))) if isinstance(item, str) and item.endswith(".py") else item


@contextmanager
def _at(path: KeyPath, mark: Mark | None) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        raise error.at(".".join(map(str, path)), mark) from None


def _known(data: object, keys: KeyPath) -> KeyPath:
    """The part of a path that the merged data has, so that its line can be found."""
    for depth, key in enumerate(keys):
        in_list = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if not in_list and not (isinstance(data, dict) and key in data):
            return keys[:depth]
        data = value_at(data, (key,))
    return keys
