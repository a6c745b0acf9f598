"""The command line: arguments become one call each. The only place that knows exit codes.
May be imported by no package: only `python -m ddpmx` starts it.

Bodies import what they need, so that `--help` does not import torch.
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
from . import results, runs, specs
from .options import say_error


def main() -> None:
    """Run the command line and exit.

    0: done; 1: the run, the disk or standard output failed; 2: the input is wrong; 130: interrupted; 141 (what a shell says of a
    program that SIGPIPE ends), in silence: standard output is a pipe that nobody reads any more.
    """
    # Spinning threads that wait for one which another program keeps off its core made a step 30 times slower.
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
        said = io.StringIO()
        error.show(said)
        return _say(said.getvalue().rstrip(), 2)
    except (Exception, SystemExit) as error:
        from ..plugins.faults import plugin_error

        if out_of_memory.caused(error):
            return _say(f"failed: {out_of_memory.message(error)}", 1)
        fault = plugin_error(error)
        if fault is not None:
            return say_error(fault)
        if isinstance(error, OSError):
            from ..outputs import DISK_ERRORS

            place = f"{text.shortened(str(error.filename))}: " if error.filename else ""
            disk = error.errno in DISK_ERRORS
            return _say(f"{'failed' if disk else 'error'}: {place}{why(error)}", 1 if disk else 2)
        raise


def _say(message: str, code: int) -> int:
    terminal.echo(text.message(message), err=True)
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ddpmx", message="%(prog)s %(version)s")
def cli() -> None:
    """Experiments with diffusion models: a YAML spec becomes a trained, sampled, measured and reported run."""


for _command in (
    *(runs.run, runs.sample, runs.evaluate, runs.sweep, results.compare),
    *(specs.list_, specs.show, specs.validate, specs.check, specs.schema, specs.doctor),
    *(runs.export, runs.import_, results.track),
):
    cli.add_command(_command)
