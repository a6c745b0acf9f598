"""Checks of the error message of a refused command."""

from __future__ import annotations

from pathlib import Path

from conftest import Result


def refused(result: Result, *wanted: str) -> list[str]:
    """The lines of an error message; each of the wanted texts must be in exactly one of them."""
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    for text in wanted:
        assert sum(text in line for line in lines) == 1, (text, result.err)
    return lines


def refused_without_run(result: Result, tmp_path: Path, wanted: list[str]) -> None:
    """Check for all wanted texts in an error message, and that no run folder was left behind."""
    assert result.code == 2, result.err
    assert "Traceback" not in result.err
    for text in wanted:
        assert text in result.err, result.err
    assert not list(tmp_path.glob("runs/*/*")), "a run folder was left behind"
