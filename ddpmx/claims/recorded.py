"""`claims.yaml` in a sweep's folder: its claims, and the points that they are about.

A point's runs are recognised by what they compute, wherever they lie: a run that another sweep made is not
repeated. So the file has each point's spec and seeds; what all points share is written once::

    claims: [{says: more is better, source: a page, measure: fd_cnn, test: best, point: timesteps_500}]
    measures: [val_loss, fd_cnn]
    spec: {dataset: {name: digits}, schedule: {name: linear}}
    points:
      timesteps_400: {seeds: [0, 1], spec: {schedule: {timesteps: 400}}}
      timesteps_500: {seeds: [0, 1], spec: {schedule: {timesteps: 500}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from ..comparison.groups import IGNORED_FIELDS
from ..components.in_words import findings_of
from ..components.strict import Strict
from ..errors import Mark, SpecError
from ..files import kind, read_text
from ..outputs import cannot_write
from ..runs.known_runs import with_defaults
from ..spec.claim_checks import Known, check, numeric_fields
from ..spec.claims import Claim, claims_of
from ..spec.source import Source
from ..spec.yaml_source import Document, parse
from ..storage.atomic import write_atomically
from ..storage.folder import to_yaml
from .block import joined, shared, without

NAME = "claims.yaml"
HEAD = "# Written by `ddpmx sweep` from the sweep's spec; `ddpmx claims` reads it.\n"
MAX_BYTES, MAX_VALUES = 10_000_000, 1_000_000
"""Most bytes of the file that are read, and most values in it: a sweep has at most 10,000 points."""


@dataclass(frozen=True)
class ClaimedPoint:
    """A point that claims may be about."""

    seeds: tuple[int, ...]
    """The sweep's own seeds."""
    spec: Mapping[str, object]
    """The resolved spec, with plugins as content hashes, without `name`, `seed` and `track`."""


@dataclass(frozen=True)
class Claimed:
    """A sweep's claims."""

    sweep: str
    """The sweep's name."""
    claims: tuple[Claim, ...]
    """The claims, as they are written."""
    measures: tuple[str, ...]
    """The measures that all points have."""
    points: Mapping[str, ClaimedPoint]
    """The points by label."""

    def text(self) -> str:
        """The content of the file."""
        common = shared([point.spec for point in self.points.values()])
        content = {
            "claims": [claim.model_dump(mode="json", exclude_unset=True) for claim in self.claims],
            "measures": list(self.measures),
            "spec": common,
            "points": {
                label: {"seeds": list(point.seeds), "spec": without(point.spec, common)}
                for label, point in self.points.items()
            },
        }
        return HEAD + to_yaml(content)

    def write(self, folder: Path) -> None:
        """Write the file into the sweep's folder, which is created, unless it is there already.

        Raises RunError if the disk fails, SpecError if the file cannot be written for another reason.
        """
        path, text = folder / NAME, self.text()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kind(path) != "file" or path.read_bytes() != text.encode():
                write_atomically(path, text)
        except OSError as error:
            raise cannot_write(path, error, "--out") from None


class _Point(Strict):
    """A point, in the file."""

    seeds: tuple[int, ...] = Field(min_length=1)
    spec: dict[str, object]


class _File(Strict):
    """The file, apart from the grammar of its claims."""

    claims: object
    measures: tuple[str, ...]
    spec: dict[str, object]
    points: dict[str, _Point] = Field(min_length=1)


def read(path: Path) -> Claimed:
    """Read a sweep's claims. Raises SpecError with every finding, each with its line."""
    document = parse(read_text(path, MAX_BYTES), str(path), MAX_VALUES)
    source = _source(document, path)
    try:
        file = _File.model_validate(source.data)
    except ValidationError as error:
        raise SpecError.of(
            SpecError(message, field=".".join(map(str, keys)), mark=source.mark(keys) or Mark(str(path), 1))
            for keys, message in findings_of(error)
        ) from None
    points = {
        label: ClaimedPoint(point.seeds, _todays(joined(file.spec, point.spec)))
        for label, point in file.points.items()
    }
    claims = claims_of(source)
    fields = numeric_fields([point.spec for point in points.values()])
    check(claims, source, Known(tuple(points), file.measures, fields))
    return Claimed(path.absolute().parent.name, claims, file.measures, points)


def _source(document: Document, path: Path) -> Source:
    if not isinstance(document.data, dict):
        raise SpecError("should be a mapping with `claims` and `points`", mark=Mark(str(path), 1))
    return Source(document.data, document.marks)


def _todays(spec: Mapping[str, object]) -> dict[str, object]:
    """A point's spec with the fields that are newer than the file."""
    return claimed_part(with_defaults({**spec, "name": "point"}, Path()))


def claimed_part(resolved: Mapping[str, object]) -> dict[str, object]:
    """A resolved spec without the fields in which a point's runs may differ."""
    return {key: value for key, value in resolved.items() if key not in IGNORED_FIELDS}
