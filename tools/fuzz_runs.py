"""Fuzzing of run folders: on a damaged folder, commands raise only SpecError and RunError.

    pip install 'ddpmx[dev]' && python tools/fuzz_runs.py --seconds 600 --out runs/fuzz

Each example damages a small run in one to three ways (`tests/run_damage.py`) and passes it to all commands
that read runs. Findings are counted once per place where they were raised, and the folder of each is kept.
Exit code 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from conftest import TINIER
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from run_damage import COMMANDS, damage

from ddpmx.errors import RunError, SpecError
from ddpmx.runs.run import run
from ddpmx.spec.loading import load
from ddpmx.terminal.console import console

SLOW = 20
"""Seconds; a slower command is a finding too."""
CHUNK = 10


class Fuzzer:
    """Damages copies of one run until the time is over, and collects the findings."""

    def __init__(self, seconds: float, out: Path) -> None:
        self.out, self.folder = (
            out,
            Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)),
        )
        self.spec = self.folder / "tiny.yaml"
        self.spec.write_text(TINIER)
        self.whole = run(load(self.spec), out=self.folder / "whole", device=torch.device("cpu"))
        self.runs = self.refused = 0
        self.findings: set[str] = set()
        self.end = time.monotonic() + seconds

    def example(self, data: st.DataObject) -> None:
        damaged = self.folder / "runs" / "tiny" / self.whole.name
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        shutil.copytree(self.whole, damaged, symlinks=True)
        damage(data, damaged)
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        slow = ("report", "page") if self.runs % 8 else ()
        for name in (name for name in COMMANDS if name not in slow):
            begin = time.monotonic()
            try:
                COMMANDS[name](damaged, self.spec)
            except (SpecError, RunError) as error:
                str(error).encode()
                self.refused += 1
            except Exception as error:
                frames = [
                    frame
                    for frame in traceback.extract_tb(error.__traceback__)
                    if "/ddpmx/" in frame.filename
                ]
                self.keep(
                    f"{name}-{type(error).__name__}-{Path(frames[-1].filename).stem}-{frames[-1].lineno}",
                    damaged,
                )
            if time.monotonic() - begin > SLOW:
                self.keep(f"{name}-slow", damaged)
        self.runs += 1

    def keep(self, name: str, damaged: Path) -> None:
        if name not in self.findings:
            self.findings.add(name)
            print(f"finding: {name}\n{traceback.format_exc()}", flush=True)
            self.out.mkdir(parents=True, exist_ok=True)
            shutil.make_archive(str(self.out / name), "tar", damaged)

    def fuzz(self) -> None:
        quiet = list(HealthCheck)
        options = settings(
            max_examples=CHUNK,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=quiet,
        )
        while time.monotonic() < self.end:
            seed(random.randrange(2**32))(options(given(st.data())(self.example)))()
        shutil.rmtree(self.folder)
        print(
            f"{self.runs:,} folders, {self.refused:,} refusals, {len(self.findings)} findings in {self.out}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    warnings.simplefilter("error")
    console.quiet = True  # no warnings about damage
    fuzzer = Fuzzer(options.seconds, options.out)
    fuzzer.fuzz()
    sys.exit(bool(fuzzer.findings))
