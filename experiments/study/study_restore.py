"""Continues a study that another machine began, from what it has published.

A published run counts as finished if its spec is one of the study's, so that it is not trained again. Its
files are copied to the other runs: everything about it except for the weights, so that it cannot be measured
any further.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from study_plan import Study, has_weights

from ddpmx.comparison.results import read_run
from ddpmx.errors import RunError
from ddpmx.files import cache_root
from ddpmx.metrics.cnn import Cnn
from ddpmx.runs.known_runs import finished_runs
from ddpmx.training.experiment import load_data

MEASURE = "fd_cnn"
"""The measure whose classifier is compared."""


def published_runs(study: Study, results: Path) -> dict[str, Path]:
    """The finished runs in the published folder of specs that have none among the study's, by the name."""
    done = study.finished()
    specs = [spec for sweep in study.sweeps for spec in study.specs(sweep) if spec.name not in done]
    return finished_runs(specs, results)


def restore(study: Study, results: Path) -> None:
    """Copy the published runs that the study lacks to its runs."""
    runs = set(published_runs(study, results).values())
    for run in sorted(runs):
        target = study.out / run.relative_to(results)
        files = [path for path in run.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == "spec.yaml"):  # which makes it a run
            copy = target / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    if runs:
        print(f"{len(runs)} runs are taken from {results}, without their weights", flush=True)


def check_classifier(study: Study) -> None:
    """Raise RunError if further points would be measured in the features of another classifier.

    It is trained on each machine and comes out a little different on another processor or with another number
    of threads, and so do all distances.
    """
    done = study.finished()
    specs = [spec for sweep in study.sweeps for spec in study.specs(sweep)]
    restored = [done[spec.name] for spec in specs if spec.name in done and not has_weights(done[spec.name])]
    if not restored or all(spec.name in done for spec in specs):
        return
    result = read_run(restored[0]).results.get(MEASURE)
    published = result.score["extractor"] if result is not None and result.score is not None else None
    data = load_data(specs[0])
    own = Cnn(data).hash
    if published != own:
        raise RunError(
            f"the published runs are measured in the features of another classifier ({published}) than this"
            f" machine trains ({own}), so that further points would not compare with them: copy"
            f" classifiers/{data.fingerprint}-*.safetensors from the cache of the machine that trained it to"
            f" {cache_root()}, or name other folders with --out and --results to begin the study again"
        )
