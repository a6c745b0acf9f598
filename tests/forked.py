"""The command line in processes that start in milliseconds and can be killed just before a given file
operation."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from ddpmx.storage.folder import RunFolder

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ddpmx.cli", "ddpmx.runs.run", "ddpmx.spec.loading", "forked"])
OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.truncate")
NEVER = 10**9
TIMES = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Death:
    """A SIGKILL just before the `count`-th file operation, an audit event of Python, whose paths contain
    `part`."""

    part: str
    count: int = 1
    operation: str = ""
    """One of OPERATIONS; empty for any."""


def start(
    folder: Path, *arguments: str | Path, death: Death | None = None, largest_file: int | None = None
) -> ForkServerProcess:
    """Start `python -m ddpmx …` in `folder`, with its output in `folder/said`.

    No file may grow beyond `largest_file` bytes.
    """
    return _start(folder, arguments, death, largest_file, {})


def together(folder: Path, count: int, *arguments: str | Path) -> list[int]:
    """The exit codes of `count` processes of one run on a CPU, started like torchrun does, with their output
    in `folder/said`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    processes = []
    for rank in map(str, range(count)):
        process = _start(
            folder, [*arguments, "--device", "cpu"], None, None, {**meeting, "RANK": rank, "LOCAL_RANK": rank}
        )
        processes.append(process)
    return [ended(process) for process in processes]


def ended(process: ForkServerProcess, seconds: float = 300) -> int:
    """The exit code; −9 if the process was killed."""
    process.join(seconds)
    assert process.exitcode is not None, "it still runs"
    return process.exitcode


def command(
    folder: Path, *arguments: str | Path, death: Death | None = None, largest_file: int | None = None
) -> tuple[int, str]:
    """The exit code and the output."""
    (folder / "said").unlink(missing_ok=True)
    code = ended(start(folder, *arguments, death=death, largest_file=largest_file))
    return code, (folder / "said").read_text()


def _start(
    folder: Path,
    arguments: Sequence[str | Path],
    death: Death | None,
    largest_file: int | None,
    environment: dict[str, str],
) -> ForkServerProcess:
    process = CONTEXT.Process(
        target=_command, args=(folder, [*map(str, arguments)], death, largest_file, environment)
    )
    process.start()
    return process


def _command(
    folder: Path,
    arguments: list[str],
    death: Death | None,
    largest_file: int | None,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if death is not None:
        seen = 0

        def hook(operation: str, details: tuple[Any, ...]) -> None:
            nonlocal seen
            if (
                operation in OPERATIONS
                and death.operation in ("", operation)
                and death.part in " ".join(map(str, details[:2]))
            ):
                seen += 1
                if seen == death.count:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        atexit.register(lambda: Path("operations").write_text(str(seen)))
    from ddpmx.cli import main

    sys.argv = ["ddpmx", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing does not run them


def outcome(run: Path) -> dict[str, Any]:
    """Everything that a run computed, except times: tensors as bytes, counters, events, log."""
    found: dict[str, Any] = {}
    for which in ("last", "best"):
        folder = run / "checkpoints" / which
        for file in sorted(folder.glob("*.safetensors")):
            found |= {
                f"{which} {file.stem} {name}": tensor.numpy().tobytes()
                for name, tensor in load_file(file).items()
            }
        content = json.loads((folder / "state.json").read_text())
        counters = {key: value for key, value in content["train"].items() if key not in TIMES}
        found[f"{which} counters"] = {**counters, "row": without_times(counters["row"])}
        found[f"{which} optimizer"] = content["optimizer"]
    found["events"] = [without_times(event) for event in RunFolder(run).events()]
    header, *rows = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    found["log"] = [header, *(row[: -len(TIMES)] for row in rows)]
    found["samples"] = {file.name: file.read_bytes() for file in (run / "samples").glob("*.png")}
    return found


def without_times(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in TIMES}


def differing(a: Path, b: Path) -> list[str]:
    """The keys at which the outcomes of two runs differ."""
    left, right = outcome(a), outcome(b)
    return [key for key in left | right if left.get(key) != right.get(key)]
