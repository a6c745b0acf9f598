"""Data sets on the Hugging Face Hub, streamed through `datasets`, so that only our own cache keeps a copy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpecError

if TYPE_CHECKING:
    from datasets import IterableDatasetDict

TIMEOUT = 10.0
"""Seconds to wait for an answer from the Hub."""


@dataclass(frozen=True)
class Repository:
    """A data set's repository on the Hub."""

    name: str
    """owner/name."""
    config: str | None = None
    """The configuration (subset); None: the only one."""
    revision: str | None = None
    """A commit, tag or branch; None: the newest."""


def fetch(repository: Repository, dataset: str, folder: str, scratch: Path) -> IterableDatasetDict:
    """The repository's splits. A single request tests first whether the Hub can be reached.

    Raises SpecError, which lists three ways to provide the data, if the Hub or the repository is unavailable.
    """
    import datasets
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(repository.name, revision=repository.revision, timeout=TIMEOUT).sha
        download = datasets.DownloadConfig(cache_dir=scratch / "hub")
        return datasets.load_dataset(
            repository.name,
            repository.config,
            revision=commit,
            streaming=True,
            cache_dir=str(scratch),
            download_config=download,
        )
    except Exception as error:  # network errors have no common base class
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        data_root = os.environ.get("DDPMX_DATA")
        local = f"$DDPMX_DATA/{folder} (DDPMX_DATA is {data_root or 'not set'})"
        online = (
            "unset HF_HUB_OFFLINE"
            if os.environ.get("HF_HUB_OFFLINE")
            else "give this machine access to the Hub"
        )
        raise SpecError(
            f"the data set '{dataset}' is not on this machine, and '{repository.name}' cannot be read"
            f" from the Hub: {reason}",
            hint=f"three ways to provide it: set dataset.path to its folder; put it in {local}; or {online}",
        ) from error
