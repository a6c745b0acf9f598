"""Resolved specs of runs in a form in which two of them can be compared, whatever version wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..plugins.loading import file_hash
from ..spec.evaluation import WeightsSpec

NEW_PARAMETERS: Mapping[str, Mapping[str, object]] = {"bpd": {"chain": "all"}}
"""By metric: parameters that it did not have at first, with the values that change nothing."""

NEW_FIELDS: Mapping[str, Mapping[str, object]] = {
    name: {"size": None} for name in ("digits", "mnist", "fashion_mnist", "cifar10")
}
"""The same by data set, of its fields."""


def metric_parameters(block: Mapping[str, object]) -> dict[str, object]:
    """The parameters in a metric's block, with those that the metric did not have at that time."""
    new = NEW_PARAMETERS.get(str(block.get("name")), {})
    return {**new, **{key: value for key, value in block.items() if key != "name"}}


def fingerprinted(resolved: Mapping[str, object], folder: Path) -> dict[str, object]:
    """A resolved spec with content hashes for its plugin files: runs with equal ones compute the same."""
    named = resolved.get("plugins")
    plugins = [str(plugin) for plugin in named] if isinstance(named, list | tuple) else []
    hashes = [file_hash(folder / plugin) if plugin.endswith(".py") else plugin for plugin in plugins]
    return {**_with_defaults(_with_ema_name(_with_metrics(resolved))), "plugins": hashes}


def _with_defaults(resolved: Mapping[str, object]) -> Mapping[str, object]:
    """The spec with the fields that specs of earlier versions lack, which do not change what it computes."""
    evaluate = resolved.get("evaluate")
    named = {**resolved, "evaluate": {"over": {}, **evaluate}} if isinstance(evaluate, dict) else resolved
    dataset = resolved.get("dataset")
    if isinstance(dataset, dict):
        named = {**named, "dataset": {**NEW_FIELDS.get(str(dataset.get("name")), {}), **dataset}}
    return {"weights": WeightsSpec().model_dump(mode="json"), **named}


def _with_metrics(resolved: Mapping[str, object]) -> Mapping[str, object]:
    """The spec with the parameters that metrics have today, and those of the same effect written alike."""
    evaluate = resolved.get("evaluate")
    metrics = evaluate.get("metrics") if isinstance(evaluate, dict) else None
    if not isinstance(evaluate, dict) or not isinstance(metrics, list | tuple):
        return resolved
    named = [_with_new_parameters(metric) if isinstance(metric, dict) else metric for metric in metrics]
    return {**resolved, "evaluate": {**evaluate, "metrics": named}}


def _with_new_parameters(metric: dict[str, object]) -> dict[str, object]:
    """A metric's block with those parameters, and `reference: test` for null, an old default."""
    named = {"name": metric.get("name"), **metric_parameters(metric)}
    return {**named, "reference": "test"} if named.get("reference", "") is None else named


def _with_ema_name(resolved: Mapping[str, object]) -> Mapping[str, object]:
    """The spec with `name: constant` in a block `train.ema` from when there was no other average."""
    train = resolved.get("train")
    ema = train.get("ema") if isinstance(train, dict) else None
    if not isinstance(train, dict) or not isinstance(ema, dict) or "name" in ema:
        return resolved
    return {**resolved, "train": {**train, "ema": {"name": "constant", **ema}}}
