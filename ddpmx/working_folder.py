"""Removing the working folder from Python's module path.

`python -m` puts it first, so that a stranger's `torch.py` in it would be imported as torch. This module is
imported before any other that is not built into Python or loaded at its start.
"""

import os
import sys


def take_off_the_path() -> None:
    """Remove the working folder from `sys.path`, unless PYTHONPATH names it by an absolute path."""
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109  (pathlib could be imported from that very folder)
    except OSError:  # the working folder was deleted, so that nothing can be imported from it
        return
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = [entry for entry in entries if os.path.isabs(entry)]  # noqa: PTH117
    if here not in map(os.path.realpath, wanted):
        sys.path[:] = [entry for entry in sys.path if entry and os.path.realpath(entry) != here]
    elif not sys.flags.safe_path:
        del sys.path[0]  # the entry of `python -m`; the one from PYTHONPATH stays
