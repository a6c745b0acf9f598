"""Loading a Spec from files and `-s` overrides: `extends`, plugins, validation, positions of errors."""

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
from .absolute import absolute_plugin, at, make_absolute
from .claims import CLAIMS
from .diagnosis import other_errors
from .inherited import without_inherited
from .schema import Spec
from .source import KeyPath, Source, existing, nested
from .yaml_source import MAX_DEPTH, parse, read, refuse_unprintable

OVERRIDE = "-s"
"""The option that takes an override; an override's mark begins with it."""
EXTENDS = "extends"
"""The key with the files that a file is merged over."""
OF_SWEEPS = ("sweep", CLAIMS)
"""The keys that only a sweep's file has, and the specs of its points do not."""
MOST_REPEATED = 100
"""Characters of an override that a message repeats."""
MAX_FILES = 100
"""Files that may be read for one spec, counting a file as often as others extend it."""


Override = str | Source
"""A change of a spec: KEY=VALUE from `-s`, or a Source that `option` made from another option."""


def load(path: Path | str, overrides: Iterable[Override] = ()) -> Spec:
    """Read, merge and validate a spec of one run. Raises SpecError with the file and line of each finding."""
    return _of_one_run(merged(path, overrides), path)


def load_data(data: Source, name: str, overrides: Iterable[Override] = ()) -> Spec:
    """`load` for data that no file has. Its paths are relative to the working folder; errors say `name`."""
    changes = _changes(overrides)
    source = _over_bases(data, Path(), (), count(1), _extends(changes))
    return _of_one_run(_changed(source, changes), name)


def _of_one_run(source: Source, path: Path | str) -> Spec:
    """The validated spec of merged data. Raises SpecError for those of a sweep."""
    if "sweep" in source.data:
        hint = "use `ddpmx sweep` to run all points, or --point NAME to choose one"
        message = "the file describes a sweep, where a single run is expected"
        raise SpecError(message, field="sweep", mark=source.mark(("sweep",)), hint=hint)
    return validated(source, path)


def load_run(run: Path, overrides: Iterable[Override] = ()) -> Spec:
    """Load the spec of a run folder. Also raises SpecError for plugins that this user has never run here."""
    overrides = tuple(overrides)
    for change in overrides:
        if isinstance(change, str) and field_of(change) == EXTENDS:
            mark = Mark(f"{OVERRIDE} {shortened(change, MOST_REPEATED)}")
            raise SpecError("a run's spec is complete and extends no file", field=EXTENDS, mark=mark)
    return validated(merged(run / "spec.yaml", overrides), run / "spec.yaml", run)


def plugins_of(source: Source) -> list[str]:
    """The names of the plugins in merged data. Anything else in the list is left for Spec to report."""
    names = source.data.get("plugins")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def merged(path: Path | str, overrides: Iterable[Override] = ()) -> Source:
    """A file merged over what it extends, with the overrides on top. Not validated; keeps OF_SWEEPS.

    An override of `extends` replaces the file's own; its files are relative to the working folder.
    """
    changes = _changes(overrides)
    return _changed(_read(Path(path), (), count(1), _extends(changes)), changes)


def _changes(overrides: Iterable[Override]) -> list[Source]:
    """The overrides as data. Raises SpecError with the finding of each one that is not KEY=VALUE."""
    changes, findings = list[Source](), Findings()
    for change in overrides:
        with findings.collect():
            changes.append(override(change) if isinstance(change, str) else change)
    findings.report()
    return changes


def _extends(changes: Iterable[Source]) -> Source | None:
    """The last change of `extends`, if there is any."""
    return next((change for change in reversed([*changes]) if EXTENDS in change.data), None)


def _changed(source: Source, changes: Iterable[Source]) -> Source:
    """Merged data with the changes on top, without keys of sweeps that are null."""
    for change in changes:
        source = source if EXTENDS in change.data else source.merge(change)
    for key in OF_SWEEPS:
        if source.data.get(key, UNSET) in (None, UNSET):
            source.data.pop(key, None)
    return source


def validated(source: Source, path: Path | str, run: Path | None = None) -> Spec:
    """Load the plugins of merged data and validate it. Errors without a position name `path`.

    `run` is the run folder that the spec belongs to, if any. Raises SpecError with every finding, and for
    plugins from a run folder that this user has never run.
    """
    make_absolute(source)
    plugins.load_installed()
    _load_plugins(source, Path(path), run)
    return valid(source, path)


def valid(source: Source, path: Path | str) -> Spec:
    """Validate merged data whose plugins are loaded. Raises SpecError with every finding."""
    _refuse_claims(source)
    data, notes = without_inherited(source.layer())
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        invalid = findings_of(error)
        findings = [
            SpecError(
                message,
                field=".".join(map(str, keys)),
                mark=source.mark(existing(source.data, keys)) or Mark(str(path), 1),
            )
            for keys, message in invalid
        ]
        findings += other_errors(source, data, (keys for keys, _ in invalid))
        files = list(dict.fromkeys(finding.mark.file for finding in findings if finding.mark))
        findings.sort(
            key=lambda finding: (
                (files.index(finding.mark.file), finding.mark.line) if finding.mark else (len(files), 0)
            )
        )
        raise SpecError.of(findings) from None
    spec._source, spec._notes = source, tuple(notes)
    return spec


def _refuse_claims(source: Source) -> None:
    """Refuse the claims of a spec that is no sweep."""
    if CLAIMS in source.data:
        text = "claims are about the points of a sweep, and there is no `sweep:` block"
        hint = f"`{CLAIMS}: null` removes those that the spec extends"
        raise SpecError(text, field=CLAIMS, mark=source.mark((CLAIMS,)), hint=hint)


def _load_plugins(source: Source, path: Path, run: Path | None) -> None:
    """Run the plugins that merged data names: all of them, or none if one of them may not run."""
    located: list[trust.Plugin] = []
    names, findings = plugins_of(source), Findings()
    for index, name in enumerate(names):
        paths: list[KeyPath] = [("plugins",), ("plugins", index), ("plugins", str(index))]
        marks = [source.marks[keys] for keys in paths if keys in source.marks]
        # A mark without a line belongs to an override, which no file wrote.
        written_in = [Path(mark.file) for mark in marks if mark.line] if marks else [path]
        with findings.collect(), _at_plugin(source, index):
            located.append(trust.find(name, *written_in, run=run if written_in else None))
    findings.report()
    refused = [plugin for plugin in located if not plugin.may_run]
    if refused:
        code = ", ".join(plugin.name for plugin in refused)
        raise SpecError(
            f"the run {refused[0].run} contains plugins that you have not run on this machine: {code}",
            field="plugins",
            mark=source.mark(("plugins",)),
            hint="a plugin can do anything that you can; if you trust these, pass --allow-plugins",
        )
    for index, plugin in enumerate(located):
        with findings.collect(), _at_plugin(source, index):
            plugin.load()
    findings.report()


@contextmanager
def _at_plugin(source: Source, index: int) -> Iterator[None]:
    """A context that points a SpecError at the plugin with that index."""
    try:
        yield
    except SpecError as error:
        raise error.at(f"plugins.{index}", source.mark(("plugins", index))) from None


def _read(path: Path, above: tuple[Path, ...], files: Iterator[int], extends: Source | None = None) -> Source:
    """Read a file and everything that it extends, merged.

    `above` has the files that extend this one, outermost first; `files` counts how many have been read.
    `extends` is the override that replaces what the file itself extends, if any.
    """
    if next(files) > MAX_FILES:
        message = f"extends more than {MAX_FILES} files, counting a file each time that it is extended"
        raise SpecError(message, field=EXTENDS)
    here = resolved(path)
    if here in above:
        chain = " -> ".join(file.name for file in (*above, here))
        raise SpecError(f"extends itself: {chain}", field=EXTENDS)
    return _over_bases(read(path), path.parent, (*above, here), files, extends)


def _over_bases(
    source: Source, folder: Path, above: tuple[Path, ...], files: Iterator[int], extends: Source | None = None
) -> Source:
    """The data of a file, merged over everything that it extends.

    `folder` is the one that its paths start from, and `above` ends with the file itself, if there is one.
    """
    own = source.data.pop(EXTENDS, [])
    bases, base_folder = (own, folder) if extends is None else (extends.data[EXTENDS], Path())
    written = extends or source
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        mark = written.mark((EXTENDS,)) or next(iter(written.marks.values()))  # of `-s extends.0=…`
        raise SpecError("should be a file or a list of files", field=EXTENDS, mark=mark)
    names = source.data.get("plugins")
    if isinstance(names, list):
        with at(("plugins",), source.mark(("plugins",))):
            home = above[-1].parent if above else Path.cwd()
            source.data["plugins"] = [absolute_plugin(name, home) for name in names]
    merged, findings = Source(), Findings()
    for index, base in enumerate(bases):
        with findings.collect():
            try:
                merged = merged.merge(_read(base_folder / expanded(base), above, files))
            except SpecError as error:
                raise error.each(partial(_at_extends, written.mark((EXTENDS, index)))) from None
    findings.report()
    return merged.merge(source).layer()


def _at_extends(mark: Mark | None, error: SpecError) -> SpecError:
    """An error in a base file; if it has no position of its own, it gets the line that extends the file."""
    return error if error.mark else error.at(EXTENDS, mark)


def option(name: str, argument: object, key: str, value: object) -> Source:
    """The override that an option other than -s stands for. Its errors name the option and the argument."""
    keys = tuple(key.split("."))
    return Source(nested(keys, value), {keys: Mark(f"{name} {shortened(str(argument), MOST_REPEATED)}")})


def override(text: str) -> Source:
    """The change that KEY=VALUE makes, with the override as the mark of each key. Raises SpecError."""
    key, equals, value = text.partition("=")
    if (
        not equals
        or not key.strip()
        or not all(key.strip().split("."))
        or not value.strip()
        or key.count(".") >= MAX_DEPTH
    ):
        message = f"'{shortened(text)}' should be KEY=VALUE, such as train.lr=1e-4"
        raise SpecError(message, mark=Mark(OVERRIDE))
    refuse_unprintable(key, Mark(OVERRIDE))
    mark = Mark(f"{OVERRIDE} {shortened(text, MOST_REPEATED)}")
    try:
        value_source = parse(value, mark.file)
    except SpecError as error:
        raise error.each(
            lambda finding: SpecError(finding.message, field=key.strip(), mark=mark, hint=finding.hint)
        ) from None
    keys = override_keys(key.strip())
    return Source(nested(keys, value_source.data), {(*keys, *inner): mark for inner in value_source.marks})


def override_keys(field: str) -> tuple[str, ...]:
    """The keys that lead to a dotted field, of a spec or of the sweep in it."""
    keys = tuple(field.split("."))
    if keys[0] != "sweep":
        return keys
    # the keys inside a sweep are dotted fields themselves
    outer = {"zip": 2, "points": 3}.get(keys[1] if len(keys) > 1 else "", 1)
    return (*keys[:outer], *filter(None, [".".join(keys[outer:])]))


def field_of(override: str) -> str:
    """The field that KEY=VALUE sets."""
    return override.partition("=")[0].strip()
