"""The Hugging Face Hub, read through `datasets`: streamed, so that nothing but our own cache keeps a copy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SpecError

if TYPE_CHECKING:
    from datasets import IterableDatasetDict

SECONDS = 10.0  # how long the Hub may take to answer


@dataclass(frozen=True)
class Repository:
    """A data set's repository on the Hub, `owner/name`. None: its only configuration, its newest revision."""

    name: str
    config: str | None = None
    revision: str | None = None


def fetch(repository: Repository, dataset: str, folder: str, scratch: Path) -> IterableDatasetDict:
    """The repository's splits. One question, asked once, finds out whether the Hub can be reached at all.

    Raises SpecError, at once and with the three ways to provide the data, when it can't or has no such repository.
    """
    import datasets
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(repository.name, revision=repository.revision, timeout=SECONDS).sha
        download = datasets.DownloadConfig(cache_dir=scratch / "hub")
        return datasets.load_dataset(
            repository.name,
            repository.config,
            revision=commit,
            streaming=True,
            cache_dir=str(scratch),
            download_config=download,
        )
    except Exception as error:  # the network's own errors have no common base
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        data_root = os.environ.get("DDPMX_DATA")
        at = f"$DDPMX_DATA/{folder} (DDPMX_DATA is {data_root or 'not set'})"
        offline = (
            "unset HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "let this machine reach the Hub"
        )
        raise SpecError(
            f"the data set '{dataset}' is not on this machine, and '{repository.name}' on the Hub cannot be read: {reason}",
            hint=f"three ways to provide it: dataset.path names its folder; or it lies in {at}; or {offline}",
        ) from error
