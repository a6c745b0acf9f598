"""The command line: arguments become one call each. The only place that knows exit codes.

Bodies import what they need, so that `--help` does not import torch.
"""

from __future__ import annotations

import os
import sys

import click

from .. import __version__
from ..errors import Interrupted, RunError, SpecError
from . import results, runs, specs


def main() -> None:
    """Run the command line and exit: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted."""
    # Spinning threads that wait for one which another program keeps off its core made a step 30 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = cli.main(standalone_mode=False)
    except SpecError as error:
        code = _say(f"error: {error}", 2)
    except RunError as error:
        code = _say(f"failed: {error}", 1)
    except Interrupted as error:
        code = _say(str(error), 130)
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        code = 2
    sys.exit(code)


def _say(text: str, code: int) -> int:
    click.echo(text, err=True)
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
