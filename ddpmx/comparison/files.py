"""The files that `compare` writes, each named by an option of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..outputs import check_all, write
from ..pages.claims import ClaimTable
from .comparison import Comparison
from .groups import Group
from .latex import to_latex
from .markdown import to_markdown
from .output import to_csv
from .seeds import to_csv_seeds

PAGE = "--html"
"""The option of the page, whose module is slow to import."""
TEXTS: dict[str, Callable[[Comparison, Sequence[Group]], str]] = {
    "--csv": to_csv,
    "--csv-seeds": to_csv_seeds,
    "--markdown": to_markdown,
    "--latex": to_latex,
}
"""What each other option writes."""
OPTIONS = (PAGE, *TEXTS)
"""All options, in the order in which they are checked and written."""


def check_files(files: Mapping[str, Path]) -> None:
    """Check the files, by option, before anything is read. Raises SpecError, or RunError for the disk."""
    check_all(files)
    if PAGE in files:
        from ..pages.page import check_suffix

        check_suffix(files[PAGE], PAGE)


def write_files(
    comparison: Comparison,
    groups: Sequence[Group],
    files: Mapping[str, Path],
    claims: Sequence[ClaimTable] = (),
) -> None:
    """Write the files, by option, with the groups in the order given, and the claims on the page.

    Raises SpecError or RunError.
    """
    for option, file in files.items():
        if option == PAGE:
            from .page import write_page

            write_page(comparison, groups, file, claims)
        else:
            write(file, TEXTS[option](comparison, groups), option)
