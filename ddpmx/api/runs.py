"""`ddpmx.run`, `ddpmx.load` and `ddpmx.Run`: runs with a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from ..data import Data
from ..files import expanded
from ..plugins.trust import PERMISSION
from ..runs.evaluate import EvaluateRequest
from ..runs.evaluate import evaluate as evaluate_run
from ..runs.opening import open_run
from ..runs.resume import Resume
from ..runs.run import run as run_spec
from ..runs.sample import COUNT, SampleRequest
from ..runs.sample import images as sampled_images
from ..samplers import Sampler
from ..spec.loading import load_run
from ..spec.schema import Spec
from ..spec.values import changes, replacing
from ..storage.event_log import to_json
from ..storage.folder import RunFolder
from ..storage.newest import newest_run
from ..terminal.console import shown
from ..training.events import parse
from ..training.experiment import choose_device
from . import html
from .arguments import Block, arguments_named
from .data import data_of, stored
from .frames import Events
from .specs import changed_spec

Classes = Sequence[str | int]
"""Names or numbers of classes."""


class Run:
    """A run on disk: its spec, its events, and what can be done with its weights.

    `progress` prints on stderr while something runs: True, False, or by default only if that is a terminal.
    Where nothing is printed, warnings become Python's.
    """

    def __init__(self, folder: str | Path, *, device: str | None = None) -> None:
        """Raises SpecError if the folder is not a run's. `device` is by default the fastest."""
        self._folder, self._device = RunFolder(expanded(folder)), device

    @property
    def folder(self) -> Path:
        """The run's folder, `<out>/<name>/<id>`."""
        return self._folder.path

    @cached_property
    def spec(self) -> Spec:
        """The resolved spec. Raises SpecError if it is damaged, or has plugins that never ran here."""
        return load_run(self.folder)

    @property
    def name(self) -> str:
        """The spec's name."""
        return self._folder.spec_data()["name"]

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted`, `failed`, or `not started`."""
        status = self._folder.status()
        return "not started" if status is None else status["status"]

    @property
    def events(self) -> Events:
        """The events of metrics.jsonl so far, read anew."""
        return Events(self._folder.events())

    def network(self, weights: str | None = None) -> nn.Module:
        """The network in evaluation mode with `weights`: `best`, `last` or a file; None: as the spec says."""
        with shown(False), arguments_named():
            opened = open_run(self.folder, (), choose_device(self._device), weights)
        return opened.experiment.network.eval()

    def sample(
        self,
        count: int = COUNT,
        *,
        sampler: Block | Sampler | None = None,
        seed: int | None = None,
        classes: Classes | None = None,
        guidance: float | None = None,
        weights: str | None = None,
        overrides: Mapping[str, object] | None = None,
        progress: bool | None = None,
    ) -> Tensor:
        """Images, float32 [count, c, h, w] in [−1, 1] on the CPU: those of `ddpmx sample`, before they
        become bytes.

        `sampler`, `seed`, `guidance` and `weights` replace the spec's own; `classes` get equally many images,
        in order, by default all of them. Raises SpecError for what the run's network cannot do, and RunError
        if images are not finite.
        """
        changed = [] if sampler is None else replacing("sampler", sampler)
        chosen = None if classes is None else ",".join(map(_class, classes))
        with shown(progress), arguments_named():
            return sampled_images(
                self.folder,
                SampleRequest(count, seed, chosen, guidance),
                device=choose_device(self._device),
                overrides=[*changed, *changes(overrides or {})],
                weights=weights,
            )

    def evaluate(
        self,
        metrics: Sequence[Block] = (),
        *,
        samples: int | None = None,
        over: Mapping[str, Sequence[object]] | None = None,
        overrides: Mapping[str, object] | None = None,
        allow_changed_data: bool = False,
        progress: bool | None = None,
    ) -> Events:
        """Measure the run, and store each measurement in its folder, as `ddpmx evaluate` does.

        `metrics` and `samples` replace those of the spec. With `over`, such as `{"evaluate.sampler.steps":
        [5, 10]}`, every combination of the values is measured once: what the run has already is returned and
        not measured again. Raises SpecError for what cannot be measured, or for data that have changed since
        the run unless `allow_changed_data`, and RunError if a metric failed.
        """
        changed = dict(overrides or {})
        changed |= {"evaluate.metrics": list(metrics)} if metrics else {}
        changed |= {} if samples is None else {"evaluate.samples": samples}
        request = EvaluateRequest(
            over=over or {}, overrides=changes(changed), allow_changed_data=allow_changed_data
        )
        with shown(progress), arguments_named():
            measured = evaluate_run(self.folder, request, device=choose_device(self._device))
        return Events(parse(to_json(event)) for event in measured)  # the same types as in `events`

    def _repr_html_(self) -> str:
        """The run in a notebook: its last losses and metrics, and its final samples."""
        return html.of_run(self._folder, self.status)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status})"


def run(
    spec: str | Path | Mapping[str, object] | Spec,
    overrides: Mapping[str, object] | None = None,
    *,
    data: Data | Tensor | None = None,
    out: str | Path = "runs",
    resume: bool = False,
    allow_changed_data: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> Run:
    """Train, sample, measure and report, as `ddpmx run` does; returns the run, in `<out>/<name>/<id>`.

    With `resume`, the newest unfinished run of the same spec is resumed, if there is one; with
    `allow_changed_data` even if its data have changed since. Ctrl-C, or a
    notebook's stop button, saves a checkpoint and raises Interrupted. `progress` prints on stderr: True,
    False, or by default only if that is a terminal.

    `data` replaces the spec's data set: a `Data`, or a tensor of images, uint8 [n, 1 or 3, size, size] or
    floats in [−1, 1]. It is stored once in `<out>/data`, so that the run can be measured and resumed.

    Raises SpecError before anything is written, and RunError if the run fails; it can be resumed then.
    """
    changed, folder = changes(overrides or {}), expanded(out)
    if data is not None:
        changed = [*stored(data_of(data), folder), *changed]
    loaded = changed_spec(spec, changed)
    previous = Resume(None, allow_changed_data) if resume else None
    with shown(progress), arguments_named():
        folder = run_spec(loaded, out=folder, device=choose_device(device), resume=previous)
    return Run(folder, device=device)


def load(run: str | Path, *, device: str | None = None, allow_plugins: bool = False) -> Run:
    """A run by its folder; or the newest run in a folder, or of a name: `runs/quickstart`, `quickstart`.

    `allow_plugins` trusts the plugins in its folder from now on. Raises SpecError if there is no such run.
    """
    found = Run(newest_run(expanded(run)), device=device)
    with arguments_named(), PERMISSION.granted() if allow_plugins else nullcontext():
        load_run(found.folder)  # shows at once what is wrong, and makes its plugins trusted
    return found


def _class(name: str | int) -> str:
    """A class as `--classes` has it: names are quoted, since they may have commas."""
    return str(name) if isinstance(name, int) else f'"{name}"'
