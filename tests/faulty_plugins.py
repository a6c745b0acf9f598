"""Plugins with one fault each: the body of a class for each kind, and the message that the fault should
give."""

from __future__ import annotations

import textwrap
from pathlib import Path

from conftest import TINY

# For each kind: the base class, the registry, and the line that replaces the field in the tiny spec.
KINDS = {
    "schedule": ("Schedule", "SCHEDULES", "schedule: {{name: {name}, timesteps: 20}}"),
    "weighting": ("Weighting", "WEIGHTINGS", "loss: {{weighting: {name}}}"),
    "time": ("Time", "TIMES", "time: {name}"),
    "prediction": ("Prediction", "PREDICTIONS", "prediction: {name}"),
    "sampler": ("Sampler", "SAMPLERS", "sampler: {{name: {name}, steps: 3}}"),
    "model": ("Model", "MODELS", "model: {{name: {name}, time: index}}"),
    "dataset": ("Dataset", "DATASETS", "dataset: {name}"),
    "optimizer": ("Optimizer", "OPTIMIZERS", "train: {{steps: 12, batch_size: 64, optimizer: {name}}}"),
    "ema": ("Ema", "EMAS", "train: {{steps: 12, batch_size: 64, ema: {name}}}"),
    "tracker": ("Tracker", "TRACKERS", "track: [{name}]"),
}
HEAD = """
import sys
import ddpmx, torch
from torch import nn

def ramp(n): return torch.linspace(1e-4, 0.05, n, dtype=torch.float64)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Conv2d(1, 1, 3, padding=1)
        self.calls = 0
    def forward(self, x, t):
        self.calls += 1
        return self.wrong(x)

"""
WRONG = {
    "schedule raises": (
        "schedule",
        "def beta(self): return 1 / 0",
        r"Mine.beta\(\) of the schedule .* failed: ZeroDivisionError: division",
    ),
    "schedule exits": ("schedule", "def beta(self): sys.exit(0)", r"Mine.beta\(\) .* failed: SystemExit: 0"),
    "schedule None": (
        "schedule",
        "def beta(self): pass",
        r"Mine.beta\(\) .* should return float64 \[20\] on cpu, not None",
    ),
    "schedule dtype": (
        "schedule",
        "def beta(self): return ramp(20).float()",
        r"Mine.beta\(\) .* not float32 \[20\] on cpu",
    ),
    "schedule shape": (
        "schedule",
        "def log_snr(self): return ramp(3)",
        r"Mine.log_snr\(\) .* float64 \[20\] on cpu, not float64 \[3\]",
    ),
    "schedule NaN": (
        "schedule",
        "def beta(self): return ramp(20) * float('nan')",
        r"Mine.beta\(\) .* numbers, not nan at index 0",
    ),
    "schedule gradient": (
        "schedule",
        "def beta(self): return ramp(20).requires_grad_()",
        r"Mine.beta\(\) .* that requires a gradient",
    ),
    "schedule list": (
        "schedule",
        "def beta(self): return [0.1] * 20",
        r"Mine.beta\(\) .* not list of 20 \(float 0.1",
    ),
    "schedule inverse": (
        "schedule",
        "def beta(self): return ramp(20)\ndef from_log_snr(self, log_snr): return log_snr",
        r"Mine.from_log_snr\(\) .* tuple of two tensors, not float64 \[20\]",
    ),
    "schedule table": (
        "schedule",
        "def table(self): return 3",
        r"Mine.table\(\) .* should return a Table, not int 3",
    ),
    "weighting raises": (
        "weighting",
        "def x_start_weight(self, table): raise KeyError('k')",
        r"Mine.x_start_weight\(\) .* KeyError: 'k'",
    ),
    "weighting None": (
        "weighting",
        "def x_start_weight(self, table): pass",
        r"Mine.x_start_weight\(\) .* not None",
    ),
    "weighting shape": (
        "weighting",
        "def weights(self, table, prediction): return ramp(3)",
        r"Mine.weights\(\) .* not float64 \[3\]",
    ),
    "weighting dtype": (
        "weighting",
        "def weights(self, t, p): return ramp(20).long()",
        r"Mine.weights\(\) .* not int64 \[20\] on cpu",
    ),
    "weighting negative": (
        "weighting",
        "def weights(self, t, p): return -ramp(20)",
        r"Mine.weights\(\) .* returned -0.0001 at index 0; a weight should",
    ),
    "weighting NaN": (
        "weighting",
        "def weights(self, t, p): return ramp(20) / 0 * 0",
        r"Mine.weights\(\) .* returned nan at index 0",
    ),
    "weighting nothing": (
        "weighting",
        "",
        r"Mine.x_start_weight\(\) of the weighting .* is required, but the class does not define it",
    ),
    "weighting module": (
        "weighting",
        "def x_start_weight(self, table): return ramp(20)\ndef module(self): return 3",
        r"Mine.module\(\) .* should return a Module or None, not int 3",
    ),
    "weighting u": (
        "weighting",
        "def x_start_weight(self, table): return ramp(20)\ndef module(self): return nn.Unflatten(0, (1, -1))",
        r"Unflatten.forward\(\), which Mine.module\(\) .* \[64\], not float32 \[1, 64\]",
    ),
    "time raises": (
        "time",
        "def draw(self, u, table): return u.missing",
        r"Mine.draw\(\) .* AttributeError: 'Tensor' object has no",
    ),
    "time dtype": (
        "time",
        "def draw(self, u, table): return u * 20",
        r"Mine.draw\(\) .* should return int64 \[\d+\] .*, not float64 \[\d+\]",
    ),
    "time range": (
        "time",
        "def draw(self, u, table): return (u * 20).long() + 1",
        r"Mine.draw\(\) .* should return indices in 0 … 19, not",
    ),
    "time nothing": ("time", "", r"Mine.draw\(\) .* is required"),
    "time importance": (
        "time",
        "def draw(self, u, table): return (u * 20).long()\ndef importance(self, table): return 1.0",
        r"Mine.importance\(\) .* float64 \[20\] on cpu, not float 1.0",
    ),
    "time start": (
        "time",
        "def draw(self, u, table): return (u * 20).long()\ndef start(self, table): return [1]",
        r"Mine.start\(\) .* None or an object with draw\(\), importance\(\)",
    ),
    "time update": (
        "time",
        """
        def draw(self, u, table): return (u * 20).long()
        def start(self, table):
            class State:
                def draw(self, u): return (u * 20).long()
                def importance(self): return torch.ones(20, dtype=torch.float64)
                def update(self, t, losses): raise ValueError("not again")
                def state_dict(self): return {}
                def load_state_dict(self, state): pass
            return State()
        """,
        r"State.update\(\), which Mine.start\(\) .* failed: ValueError: not again",
    ),
    "prediction None": (
        "prediction",
        "def target(self, signal, sigma): pass",
        r"Mine.target\(\) .* tuple of two tensors, not None",
    ),
    "prediction one": (
        "prediction",
        "def target(self, signal, sigma): return signal,",
        r"Mine.target\(\) .* not tuple of 1",
    ),
    "prediction NaN": (
        "prediction",
        "def target(self, signal, sigma): return signal, sigma * float('nan')",
        r"Mine.target\(\) .* should return finite numbers, not nan at index",
    ),
    "prediction nothing": ("prediction", "", r"Mine.target\(\) .* is required"),
    "sampler None": (
        "sampler",
        "def step(self, here, there): pass",
        r"Mine.step\(\) .* should give a ddpmx.Row, not None",
    ),
    "sampler no rows": (
        "sampler",
        "def rows(self, table, prediction, t): pass",
        r"Mine.rows\(\) .* should give a ddpmx.Row, not None",
    ),
    "sampler late": (
        "sampler",
        "def rows(self, table, prediction, t):\n    yield ddpmx.Row(19.0, 1.0, 0.0, 1.0, 0.0)\n"
        "    raise OSError('gone')",
        r"Mine.rows\(\) .* failed: OSError: gone",
    ),
    "sampler NaN": (
        "sampler",
        "def step(self, here, there): return ddpmx.Row(here.t, 1.0, 0.0, float('nan'), 0.0)",
        r"Mine.step\(\) .* finite numbers, but c_x of one is nan",
    ),
    "sampler plan": (
        "sampler",
        "def plan(self, *a, **k): return []",
        r"Mine.plan\(\) .* should return a Plan, not list of 0",
    ),
    "sampler nothing": ("sampler", "", r"Mine.step\(\) .* is required"),
    "model None": (
        "model",
        "def build(self, channels, size): pass",
        r"Mine.build\(\) .* should return a Module, not None",
    ),
    "model exits": (
        "model",
        "def build(self, channels, size): raise SystemExit",
        r"Mine.build\(\) .* failed: SystemExit",
    ),
    "model nothing": ("model", "", r"Mine.build\(\) .* is required"),
    "dataset None": (
        "dataset",
        "def load(self, root): pass",
        r"Mine.load\(\) .* should return a Data, not None",
    ),
    "dataset raises": (
        "dataset",
        "def load(self, root): return open('/nowhere')",
        r"Mine.load\(\) .* FileNotFoundError",
    ),
    "dataset abstract": ("dataset", "", "Mine, which is .* abstract class Mine with abstract method load"),
    "optimizer None": (
        "optimizer",
        "def build(self, parameters, lr, weight_decay): pass",
        r"Mine.build\(\) .* return an Optimizer, not None",
    ),
    "optimizer step": (
        "optimizer",
        """
        def build(self, parameters, lr, weight_decay):
            class Late(torch.optim.SGD):
                count = 0
                def step(self):
                    self.count += 1
                    if self.count == 3:
                        sys.exit(0)
                    super().step()
            return Late(parameters, lr)
        """,
        r"bad.py:\d+: Mine.build.Late.step failed: SystemExit: 0",
    ),
    "ema nothing": ("ema", "", r"Mine.decays\(\) of the ema .* is required"),
    "ema a number": (
        "ema",
        "def decays(self, step): return 0.9",
        r"Mine.decays\(\) .* return a tuple of numbers from 0 to 1, not float 0.9",
    ),
    "ema range": ("ema", "def decays(self, step): return (0.9, 1.5)", r"Mine.decays\(\) .* from 0 to 1"),
    "ema later": (
        "ema",
        "def decays(self, step): return (0.9, 1 / (5 - step))",
        r"Mine.decays\(\) .* ZeroDivisionError",
    ),
    "ema count": (
        "ema",
        "def decays(self, step): return (0.9,) * (1 + step // 3)",
        r"Mine, which is 'wrong_ema_count', has 2 decays at step 3, but 1 at step 1",
    ),
    "tracker": ("tracker", "def check(self): return self.nothing", r"Mine.check\(\) .* AttributeError"),
    "validator": (
        "time",
        "from pydantic import model_validator\n@model_validator(mode='after')\n"
        "def look(self): raise OSError('no')",
        "Mine, which is .* failed: OSError: no",
    ),
    "default": (
        "time",
        "from pydantic import Field\nx: int = Field(default_factory=lambda: 1 // 0)",
        "Mine, which is .* ZeroDivisionError",
    ),
    "annotation": (
        "time",
        "x: 'Nowhere' = 3",
        "Mine, which is .* failed: PydanticUserError: .*not fully defined",
    ),
    "serializer": (
        "time",
        "x: float = 1.0\nfrom pydantic import field_serializer\n@field_serializer('x')\n"
        "def out(self, x): return x.nothing",
        "Mine, which is .* failed: PydanticSerializationError",
    ),
    "property": (
        "model",
        "@property\ndef conditional(self): return 1 / 0",
        r"Mine.conditional\(\) .* ZeroDivisionError",
    ),
}


def write(folder: Path, kind: str, name: str, body: str, head: str = "") -> Path:
    """Write a spec whose plugin registers a class `Mine` with this body. Returns the spec's file."""
    base, registry, field = KINDS[kind]
    body = textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ")
    (folder / "bad.py").write_text(
        f"{HEAD}{head}\n@ddpmx.{registry}.register('{name}')\nclass Mine(ddpmx.{base}):\n{body}\n"
    )
    key = field.split(":")[0]
    lines = [line for line in TINY.splitlines() if not line.startswith(f"{key}:")]
    (folder / "tiny.yaml").write_text("\n".join([*lines, field.format(name=name), "plugins: [bad.py]"]))
    return folder / "tiny.yaml"
