"""The command line. Each command turns its arguments into one call; only this package knows exit codes.
May be imported by no package: only `python -m ddpmx` starts it.

Each command imports what it needs in its body, so that `--help` does not import torch.
"""

from __future__ import annotations

import io
import os
import sys

import click

from .. import __version__, text
from ..errors import Interrupted, ReaderGone, RunError, SpecError
from ..files import why
from ..process import out_of_memory
from ..terminal import printing as terminal
from . import averages, claims, exchange, results, runs, specs, steps, sweeps
from .options import say_error


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 done; 1 the run, the disk or standard output failed; 2 the input is wrong; 130 interrupted;
    141, without a message, when standard output is a closed pipe (a shell reports SIGPIPE as 141).
    """
    # On a busy machine, threads that spin while they wait for a descheduled one made a step 30 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with terminal.guarded():
        code = _run()
    sys.exit(code)


def _run() -> int:
    try:
        return cli.main(standalone_mode=False) or 0
    except SpecError as error:
        return say_error(error)
    except RunError as error:
        return _say(f"failed: {error}", 1)
    except ReaderGone:
        return 141
    except Interrupted as error:
        return _say(str(error), 130)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", 130)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        return _say(shown.getvalue().rstrip(), 2)
    except (Exception, SystemExit) as error:
        from ..plugins.faults import plugin_error

        if out_of_memory.caused(error):
            return _say(f"failed: {out_of_memory.message(error)}", 1)
        fault = plugin_error(error)
        if fault is not None:
            return say_error(fault)
        if isinstance(error, OSError):
            from ..outputs import DISK_ERRORS

            file = f"{text.shortened(str(error.filename))}: " if error.filename else ""
            disk = error.errno in DISK_ERRORS
            return _say(f"{'failed' if disk else 'error'}: {file}{why(error)}", 1 if disk else 2)
        raise


def _say(message: str, code: int) -> int:
    """Print the message on stderr; returns the exit code."""
    terminal.echo(text.message(message), err=True)
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ddpmx", message="%(prog)s %(version)s")
def cli() -> None:
    """Run experiments with diffusion models. A YAML spec is trained, sampled, evaluated and reported."""


for _command in (
    *(runs.run, runs.sample, sweeps.sweep, results.evaluate, results.compare, claims.claims),
    *(averages.ema, steps.steps),
    *(specs.list_, specs.show, specs.validate, specs.check, specs.schema, specs.doctor),
    *(exchange.export, exchange.import_, exchange.track),
):
    cli.add_command(_command)
