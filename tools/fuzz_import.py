"""Fuzzing of `ddpmx import`: any diffusers folder gives only our errors, and memory stays bounded.

    pip install 'ddpmx[test]' && python tools/fuzz_import.py --seconds 600

An input is a small valid folder with one to three faults (tests/diffusers_folders.py). Findings are counted
once per place where they were raised, and the folder of each is copied to --out. Exit code 1 if there is a
finding.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from diffusers_folders import attempt, edits, sound

SLOW = 5
"""Seconds of processor time; a slower answer is a finding too."""
BATCH = 200
"""Examples per seed of hypothesis."""


class Fuzzer:
    """Imports damaged folders until the time is over, and collects the findings."""

    def __init__(self, seconds: float, out: Path) -> None:
        self.folder, self.out = (
            Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)),
            out,
        )
        self.files = sound(self.folder / "sound")
        self.tried = self.imported = 0
        self.findings: set[str] = set()
        self.end = time.monotonic() + seconds

    def run(self, first: int) -> None:
        number = first
        while time.monotonic() < self.end:
            quiet = settings(
                max_examples=BATCH,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            quiet(seed(number)(given(st.data())(self.example)))()
            number += 1

    def example(self, data: st.DataObject) -> None:
        faults = data.draw(edits(self.files))
        if time.monotonic() > self.end:
            return
        begin = time.process_time()
        try:
            self.imported += attempt(self.files, faults, self.folder / "in")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/ddpmx/" in frame.filename] or frames
            self.keep(
                f"{type(error).__name__}-{Path(ours[-1].filename).stem}-{ours[-1].lineno}",
                traceback.format_exc(),
            )
        if (taken := time.process_time() - begin) > SLOW:
            self.keep(f"slow-{self.tried}", f"{taken:.1f} s")
        self.tried += 1

    def keep(self, name: str, why: str) -> None:
        if name in self.findings:
            return
        self.findings.add(name)
        print(f"finding: {name}\n{why}", flush=True)
        shutil.copytree(
            self.folder / "in",
            self.out / name,
            symlinks=True,
            ignore=lambda folder, names: pipes(Path(folder), names),
        )


def pipes(folder: Path, names: list[str]) -> list[str]:
    """The named pipes of a folder, which a copy would wait for."""
    return [name for name in names if (folder / name).is_fifo()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--memory", type=float, default=8, help="Limit of the address space in GB, including torch's own."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz_import"))
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (int(options.memory * 1e9),) * 2)
    fuzzer = Fuzzer(options.seconds, options.out)
    fuzzer.run(options.seed)
    shutil.rmtree(fuzzer.folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{fuzzer.tried:,} folders, {fuzzer.imported:,} imported, {len(fuzzer.findings)} findings, "
        f"peak memory {peak:.1f} GB"
    )
    sys.exit(bool(fuzzer.findings))
