"""`python -m` puts the working folder first on the path, where a stranger's `torch.py` would be taken for torch: take it off.

Imported before anything that is not built into Python or loaded by its start.
"""

import os
import sys


def take_off_the_path() -> None:
    """Remove the working folder from `sys.path`, unless PYTHONPATH names it by an absolute path."""
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109  (pathlib may come from that very folder)
    except OSError:  # it was deleted, and holds nothing
        return
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = [entry for entry in entries if os.path.isabs(entry)]  # noqa: PTH117
    if here not in map(os.path.realpath, wanted):
        sys.path[:] = [entry for entry in sys.path if entry and os.path.realpath(entry) != here]
    elif not sys.flags.safe_path:
        del sys.path[0]  # the other entry is PYTHONPATH's
