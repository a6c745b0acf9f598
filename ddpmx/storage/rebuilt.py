"""Averages of the end of a training that have other widths, rebuilt from its snapshots: `ema/std-<width>/`.

    ema.safetensors   the rebuilt average of the parameters, and the network's last buffers
    state.json        the counters of the run's last checkpoint, the width, what it was rebuilt from

They are made when they are first used, and again if the run has been trained further.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..components.registry import EMAS
from ..emas.power import Power
from ..emas.profile import MOST_ERROR, NARROWEST, WIDEST, Combination, Profiles, exponent, in_words
from ..errors import RunError, SpecError
from ..outputs import whole_folder
from . import manifest
from .checkpoint_folder import find, steps
from .folder import RunFolder


@dataclass(frozen=True)
class StoredAverage:
    """An average that a run's folder has."""

    step: int
    """The training step."""
    std: float
    """Its width σ_rel."""
    file: Path
    """Its file; of snapshots, with the parameters only."""


@dataclass(frozen=True)
class Rebuilt:
    """An average of the end of training."""

    std: float
    """Its width σ_rel."""
    file: Path
    """Its file, which a network can be loaded from."""
    error: float
    """Relative L2 error of its profile; 0 if it was tracked in training."""


@dataclass(frozen=True)
class StoredAverages:
    """All averages that a run's folder has, those of its last checkpoint included."""

    run: Path
    """The run's folder."""
    last: Path
    """The run's last checkpoint, the end of training."""
    counters: Mapping[str, object]
    """The counters of that checkpoint."""
    averages: tuple[StoredAverage, ...]
    """The averages, by ascending step."""
    sources: str
    """A hash of everything that rebuilt averages are made of."""

    @classmethod
    def of(cls, run: Path) -> StoredAverages:
        """The averages of a run, or of the one whose training it shares.

        Raises SpecError if it keeps no snapshots, or if their state is damaged.
        """
        run = RunFolder(run).training.path
        ema = _power_of(run)
        last = find(run / "checkpoints", "last")
        if last is None:
            raise SpecError(f"{run} has no checkpoint yet")
        try:
            state = manifest.read(last)
            end = int(state["train"]["step"])
            folders = [run / "ema" / str(step) for step in steps(run / "ema") if step < end]
            digests = [manifest.read(folder).get("files") for folder in folders] + [state.get("files")]
        except RunError as error:
            raise SpecError(str(error)) from None
        names = {f"ema-{index}" if index else "ema": std for index, std in enumerate(reversed(ema.std))}
        averages = tuple(
            StoredAverage(end if folder == last else int(folder.name), std, folder / f"{name}.safetensors")
            for folder in (*folders, last)
            for name, std in names.items()
        )
        text = json.dumps([[folder.name for folder in folders], digests, state["train"], ema.spec()])
        return cls(run, last, state["train"], averages, hashlib.sha256(text.encode()).hexdigest())

    @property
    def tracked(self) -> tuple[StoredAverage, ...]:
        """The averages at the end of training that need no rebuilding."""
        return tuple(average for average in self.averages if average.file.parent == self.last)

    @cached_property
    def profiles(self) -> Profiles:
        """The profiles of all averages."""
        return Profiles(
            [average.step for average in self.averages], [exponent(average.std) for average in self.averages]
        )

    @property
    def snapshots(self) -> list[int]:
        """The steps of the snapshots before the end of training, ascending."""
        return sorted({average.step for average in self.averages} - {self.profiles.end})

    @cached_property
    def supported(self) -> list[tuple[float, float]]:
        """The ranges of widths that can be rebuilt, ascending."""
        return self.profiles.supported() if self.snapshots else []

    def combination(self, std: float) -> Combination:
        """The combination of the averages that has this width.

        Raises SpecError for a width that is out of range or that the averages do not support.
        """
        if not NARROWEST <= std < WIDEST:
            raise SpecError(f"a width should be from {NARROWEST:g} to {WIDEST:.4f}, not {std:g}")
        if not self.snapshots:
            raise SpecError(f"{self.run} has no snapshots from which a width of {std:g} could be rebuilt")
        found = self.profiles.combination(std)
        if found.error > MOST_ERROR:
            raise SpecError(
                f"the snapshots of {self.run} do not support an average of width {std:g}: its profile would"
                f" be off by {found.error:.1%}, and at most {MOST_ERROR:.0%} is allowed",
                hint=f"supported: {in_words(self.supported)}",
            )
        return found

    def rebuild(self, std: float) -> Rebuilt:
        """The average of this width, from its file if it is there already.

        Raises SpecError for an unsupported width and for damaged files.
        """
        for average in self.tracked:
            if average.std == std:
                return Rebuilt(std, average.file, 0.0)
        combination = self.combination(std)
        folder = self.run / "ema" / f"std-{std!r}"
        with _alone_in(folder.parent):
            if not self._is_current(folder):
                self._write(folder, std, combination)
        return Rebuilt(std, folder / "ema.safetensors", combination.error)

    def _write(self, folder: Path, std: float, combination: Combination) -> None:
        """Rebuild an average and write its folder."""
        tensors = self._sum(combination)
        content = {"train": self.counters, "optimizer": {}, "std": std, "sources": self.sources}
        with whole_folder(folder, ours=lambda _: True, last=manifest.STATE) as new:
            save_file(tensors, new / "ema.safetensors")
            manifest.write(new, content)

    def _is_current(self, folder: Path) -> bool:
        """Whether an undamaged average was rebuilt there from these very files."""
        try:
            manifest.verify(folder)
            return bool(manifest.read(folder).get("sources") == self.sources)
        except RunError:
            return False

    def _sum(self, combination: Combination) -> dict[str, torch.Tensor]:
        """The network's tensors with the weighted sums of the averaged parameters, added up in float64."""
        sums: dict[str, torch.Tensor] = {}
        try:
            for average, weight in zip(self.averages, combination.weights.tolist(), strict=True):
                manifest.verify(average.file.parent, average.file.name)
                parameters = load_file(average.file)
                for name in self._parameters:
                    term = parameters[name].double() * weight
                    sums[name] = sums[name] + term if name in sums else term
            end = load_file(self.last / "model.safetensors")
            return end | {name: total.to(end[name].dtype) for name, total in sums.items()}
        except RunError as error:
            hint = "without the folder of a damaged snapshot, the others are used"
            raise SpecError(str(error), hint=hint) from None
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise SpecError(f"the snapshots of {self.run} cannot be read: {text}") from None

    @cached_property
    def _parameters(self) -> list[str]:
        """Names of the averaged tensors: snapshots have no others, and a checkpoint also has buffers."""
        return list(load_file(self.averages[0].file))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """A context that only one process at a time is in, such as one of several of a run."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _power_of(run: Path) -> Power:
    """The run's average of the kind that snapshots are kept of. Raises SpecError for any other."""
    block = RunFolder(run).spec_data()["train"].get("ema")
    name = block.get("name", "constant") if block else None
    if not block or name != Power.component_name:
        kept = "no average" if name is None else f"the average '{name}'"
        raise SpecError(
            f"{run} has no snapshots to rebuild averages from: it was trained with {kept}",
            hint="snapshots are kept with train.ema={name: power}",
        )
    ema = EMAS.build(Power.component_name, **{key: value for key, value in block.items() if key != "name"})
    assert isinstance(ema, Power)
    return ema


def averaged_weights(run: Path, std: float) -> Path:
    """The file with the average of width `std` at the end of a run's training, rebuilt if it is not there.

    Its folder has the counters of the run's last checkpoint. Raises SpecError if the run keeps no snapshots,
    if they do not support the width, or if they are damaged.
    """
    return StoredAverages.of(run).rebuild(std).file


def rebuild(run: Path, stds: Iterable[float]) -> list[Rebuilt]:
    """The averages of these widths; none is written if one of them is not supported."""
    stored, widths = StoredAverages.of(run), list(dict.fromkeys(stds))
    tracked = [average.std for average in stored.tracked]
    for std in widths:
        if std not in tracked:
            stored.combination(std)
    return [stored.rebuild(std) for std in widths]
