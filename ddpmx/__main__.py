"""`python -m ddpmx`, and the `ddpmx` command."""

from __future__ import annotations

import sys

from .process import interrupts


def main() -> None:
    """Run the command line. A signal that arrives while it is still loading ends it without a traceback."""
    interrupts.install()
    code: object = interrupts.INTERRUPTED
    try:
        from .cli import main as command_line

        command_line()
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    interrupts.over(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
