"""Coverage-guided fuzzing of the spec loader and of overrides: any text raises only SpecError.

    pip install 'ddpmx[fuzz]' && python tools/fuzz_spec.py --seconds 600 --out runs/fuzz

An input is one of the SEEDS, cut and spliced, with a few `-s` overrides. Findings are counted once per place
where they were raised, and the spec and overrides of each are kept. Exit code 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import atheris

SLOW = 5
"""Seconds; a slower answer is a finding too."""

with atheris.instrument_imports(include=["ddpmx"], exclude=["ddpmx.ops"]):
    import ddpmx
    from ddpmx.components.registry import REGISTRIES
    from ddpmx.plugins import loading as plugins
    from ddpmx.spec.checks import check
    from ddpmx.spec.schema import Spec
    from ddpmx.sweeps.points import load_all

SEEDS = re.split(
    "---",
    """
name: a
dataset: digits
model: {name: convnext_unet, dim: 8, dim_mults: [1, 2]}
schedule: {name: cosine, timesteps: 20}
evaluate: {sampler: {name: ddim, steps: 3}}
---
name: b
dataset: {name: image_folder, path: x, size: 8}
model:
  name: ddpm_unet
  classes: true
schedule: {name: linear, timesteps: 9}
guidance: {weight: 2, interval: [-1, 1]}
evaluate: {sampler: dpmpp_2m}
train: {steps: 9, ema: null, optimizer: {name: adam}}
---
name: c
extends: base.yaml
loss: {norm: huber, delta: 2.0, weighting: {name: vlb, clip: 1.0}}
time: {name: loss_aware}
prediction: v
---
name: d
extends: [base.yaml, ./base.yaml]
sweep:
  loss.norm: [l1, l2]
  zip: {train.lr: [1e-3, 3e-4], seed: [1, 2]}
  points:
    - {name: short, schedule.timesteps: 10}
    - {name: q, schedule: {name: cosine, timesteps: 10}}
---
name: e
extends: base.yaml
evaluate:
  metrics: [fd_cnn, {name: fid, weights: y}]
  samples: 8
track: [{name: jsonl, path: z}, wandb]
plugins: [p.py]
train: null
""",
)
SCALARS = [
    "null",
    "true",
    ".nan",
    "1e999",
    "-1",
    "0",
    "1",
    "1e-4",
    "0x1F",
    "100000",
    "''",
    '"\\0"',
    '"\\ud800"',
    "!!str",
    "<<:",
    "*a",
    "&a",
    "[]",
    "{}",
    "[[]]",
    "{name:",
    "}",
    "?",
    "|",
    ">",
    "-",
    "#",
    ":",
    ",",
    "/dev/zero",
    ".",
    "..",
    "~",
    "é",
]


def words() -> list[str]:
    """Every name that can appear in a spec."""
    fields = [
        *Spec.model_fields,
        *(key for part in Spec.model_fields.values() for key in getattr(part.annotation, "model_fields", ())),
    ]
    named = [name for registry in REGISTRIES.values() for name in registry.names()]
    parameters = [
        key
        for registry in REGISTRIES.values()
        for name in registry.names()
        for key in registry.get(name).model_fields
    ]
    return sorted({*fields, *named, *parameters, "name", "extends", "sweep", "zip", "points"})


def refuse(plugin: str) -> NoReturn:
    """Raise instead of running a plugin that an input names."""
    raise ddpmx.SpecError(f"no plugin {plugin}")


class Fuzzer:
    """Loads and checks each input until the time is over, and collects the findings."""

    def __init__(self, seconds: float, out: Path) -> None:
        self.words, self.out = [*words(), *SCALARS], out
        self.file = (
            Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "spec.yaml"
        )
        self.file.with_name("base.yaml").write_text(SEEDS[0])
        self.runs = self.valid = 0
        self.findings: set[str] = set()
        self.end = time.monotonic() + seconds

    def __call__(self, data: bytes) -> None:
        source = atheris.FuzzedDataProvider(data)
        text = self.edited(source)
        overrides = [
            f"{self.key(source)}={self.value(source)}" for _ in range(source.ConsumeIntInRange(0, 3))
        ]
        self.file.write_bytes(text.encode("utf-8", "surrogatepass"))
        begin = time.monotonic()
        try:
            for spec in load_all(self.file, overrides)[:3]:
                check(spec)
                self.valid += 1
        except ddpmx.SpecError as error:
            str(error)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/ddpmx/" in frame.filename] or frames
            self.keep(
                f"{type(error).__name__}-{Path(ours[-1].filename).stem}-{ours[-1].lineno}",
                text,
                overrides,
                traceback.format_exc(),
            )
        if (taken := time.monotonic() - begin) > SLOW:
            self.keep("slow", text, overrides, f"{taken:.1f} s")
        self.runs += 1
        if time.monotonic() > self.end:
            print(
                f"{self.runs:,} inputs, {self.valid:,} valid specs, "
                f"{len(self.findings)} findings in {self.out}",
                flush=True,
            )
            os._exit(bool(self.findings))  # libFuzzer would report a normal exit as a crash

    def edited(self, source: atheris.FuzzedDataProvider) -> str:
        if source.ConsumeProbability() > 0.95:
            return str(source.ConsumeUnicode(2000))
        parts = re.split(r"([^\w.-]+)", source.PickValueInList(SEEDS))
        for _ in range(source.ConsumeIntInRange(0, 4)):
            index = source.ConsumeIntInRange(0, len(parts) - 1)
            parts[index : index + source.ConsumeIntInRange(0, 3)] = [self.value(source)]
        return "".join(parts)

    def key(self, source: atheris.FuzzedDataProvider) -> str:
        return ".".join(source.PickValueInList(self.words) for _ in range(source.ConsumeIntInRange(1, 3)))

    def value(self, source: atheris.FuzzedDataProvider) -> str:
        pick = source.PickValueInList
        kind = source.ConsumeIntInRange(0, 3)
        if kind == 0:
            return str(source.ConsumeUnicode(12))
        if kind == 1:
            return f"{{name: {pick(self.words)}, {pick(self.words)}: {pick(SCALARS)}}}"
        return str(pick(self.words if kind == 2 else ["\n", " ", ": ", "  ", "\t", *SCALARS]))

    def keep(self, name: str, text: str, overrides: Sequence[str], why: str) -> None:
        if name not in self.findings:
            self.findings.add(name)
            print(f"finding: {name}", flush=True)
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / f"{name}.json").write_text(
                json.dumps({"spec": text, "overrides": overrides, "why": why}, indent=1)
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    plugins.load = refuse
    warnings.simplefilter("error")
    corpus = Path(tempfile.mkdtemp())
    for seed in range(200):
        (corpus / str(seed)).write_bytes(random.Random(seed).randbytes(20 + 2 * seed))
    settings = ["-max_len=1000", "-len_control=0", "-timeout=60", "-rss_limit_mb=8000", str(corpus)]
    atheris.Setup([sys.argv[0], *settings], Fuzzer(options.seconds, options.out))
    atheris.Fuzz()
