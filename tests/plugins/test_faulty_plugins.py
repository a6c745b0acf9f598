"""Errors of plugins, in any method and at any time, end in one message.

It names the plugin's file, class and method, what it returned and what was expected.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Result, only_run

from ddpmx import SCHEDULES, Schedule, SpecError
from ddpmx.components.registry import REGISTRIES
from ddpmx.plugins import faults
from ddpmx.trackers import Tracker, Trackers

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def registries_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the registries, so that other tests do not see the broken components of this file."""
    for registry in REGISTRIES.values():
        registry.names()  # imports the built-in components
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
        monkeypatch.setattr(registry, "_aliases", dict(registry._aliases))


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
        r"Mine.weights\(\) .* gives -0.0001 at index 0, where",
    ),
    "weighting NaN": (
        "weighting",
        "def weights(self, t, p): return ramp(20) / 0 * 0",
        r"Mine.weights\(\) .* gives nan at index 0",
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
        r"Mine.step\(\) .* finite numbers, and one has c_x nan",
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
FORWARD = {
    "None": (
        "pass",
        r"Own.forward\(\), which Mine.build\(\) .* should return floating-point numbers \[64, 1, 8, 8\] on "
        r"cpu, not None",
    ),
    "shape": ("return self.w(x)[:, :, :4]", r"Own.forward\(\), .* not float32 \[64, 1, 4, 8\] on cpu"),
    "dtype": ("return self.w(x).long()", r"Own.forward\(\), .* not int64 \[64, 1, 8, 8\] on cpu"),
    "detached": ("return self.w(x).detach()", r"Own.forward\(\), .* not a tensor without a gradient"),
    "gradients off": (
        "torch.set_grad_enabled(False)\nreturn self.w(x)",
        "not a tensor without a gradient: it turns gradients off",
    ),
    "raises late": (
        "if self.calls == 4: raise ValueError('late')\nreturn self.w(x)",
        r"bad.py:\d+: Mine.build.Own.wrong failed: ValueError: l",
    ),
    "exits late": ("if self.calls == 4: sys.exit(0)\nreturn self.w(x)", r"Own.wrong failed: SystemExit: 0"),
    "library": ("return self.w(x.expand(-1, 2, -1, -1))", r"Own.wrong failed: RuntimeError: Given groups=1"),
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


@pytest.mark.parametrize("case", WRONG)
def test_what_a_plugin_does_wrong_is_named(ddpmx: Run, tmp_path: Path, case: str) -> None:
    kind, body, message = WRONG[case]
    spec = write(tmp_path, kind, f"wrong_{case.replace(' ', '_')}", body)
    result = ddpmx("run", spec, "--out", tmp_path / "runs")
    assert result.code in (1, 2), result.err
    assert "Traceback" not in result.err
    assert str(tmp_path / "bad.py") in result.err
    assert matches(message, result.err), result.err


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text.replace("\n", " ")) is not None


@pytest.mark.parametrize("case", FORWARD)
def test_so_is_what_its_network_does(ddpmx: Run, tmp_path: Path, case: str) -> None:
    forward, message = FORWARD[case]
    lines = textwrap.indent(forward, " " * 12)
    body = (
        "def build(self, channels, size):\n    class Own(Net):\n"
        f"        def wrong(self, x):\n{lines}\n    return Own()"
    )
    spec = write(tmp_path, "model", f"network_{case.replace(' ', '_')}", body)
    result = ddpmx("run", spec, "--out", tmp_path / "runs")
    assert result.code == 1, result.err
    assert "Traceback (" not in result.err
    assert matches(message, result.err), result.err
    assert torch.is_grad_enabled()


def test_its_traceback_is_in_the_runs_folder(ddpmx: Run, tmp_path: Path) -> None:
    body = (
        "def build(self, channels, size):\n    class Own(Net):\n"
        "        def wrong(self, x): raise ValueError('deep')\n    return Own()"
    )
    result = ddpmx("run", write(tmp_path, "model", "with_traceback", body), "--out", tmp_path / "runs")
    file = only_run(tmp_path / "runs") / "plugin-traceback.txt"
    assert f"Its traceback: {file}" in result.err
    assert "ValueError: deep" in file.read_text()
    assert "bad.py" in file.read_text()
    assert "with --resume" in result.err


def test_or_can_be_asked_for(ddpmx: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path, "schedule", "asked_for", "def beta(self): return 1 / 0")
    assert "DDPMX_TRACEBACK=1 shows the plugin's traceback" in ddpmx("validate", spec).err
    monkeypatch.setenv("DDPMX_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in ddpmx("validate", spec).err


def test_ctrl_c_within_a_plugin_is_ctrl_c(ddpmx: Run, tmp_path: Path) -> None:
    spec = write(tmp_path, "schedule", "interrupted", "def beta(self): raise KeyboardInterrupt")
    assert ddpmx("validate", spec).code == 130


CHANGES = {
    "torch's default dtype": "torch.set_default_dtype(torch.float64)",
    "torch's gradient mode": "torch.set_grad_enabled(False)",
    "torch's choice of deterministic algorithms": "torch.use_deterministic_algorithms(True)",
    "torch's default device": "torch.set_default_device('meta')",
    "the working folder": "import os; os.chdir('/')",
}


@pytest.mark.parametrize("when", ["import", "method"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_it_changes_for_others_is_reported_and_put_back(
    ddpmx: Run, tmp_path: Path, what: str, when: str
) -> None:
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device(), Path.cwd())
    head, body = (
        (f"{CHANGES[what]}\n", "")
        if when == "import"
        else ("", f"x = ramp(self.timesteps); {CHANGES[what]}; ")
    )
    name = f"changes_{when}_{'_'.join(what.split()[-2:])}"
    spec = write(
        tmp_path,
        "schedule",
        name,
        f"def beta(self): {body}return {'x' if body else 'ramp(self.timesteps)'}",
        head,
    )
    result = ddpmx("validate", spec)
    assert result.code == 0, result.err
    assert f"changed {what} from " in result.err
    assert f"warning: the plugin {tmp_path / 'bad.py'}" in result.err
    assert before == (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_default_device(),
        Path.cwd(),
    )
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "name", ["", "my schedule", "a/b", "../x", ".hidden", "ünal", "x" * 101, "a\nb", "a\x1b[2J", 5, None]
)
def test_a_registered_name_is_a_name(name: object) -> None:
    for arguments in ({"name": name}, {"name": "fine", "aliases": (name,)}):
        with pytest.raises(SpecError, match="letters, digits, _ - . only") as error:
            SCHEDULES.register(**arguments)(type("Mine", (Schedule,), {"__module__": __name__}))  # type: ignore[arg-type]
        assert "\x1b" not in str(error.value)
    assert "fine" not in SCHEDULES.names()


def test_aliases_are_a_tuple_of_names() -> None:
    with pytest.raises(SpecError, match="should be a tuple of names, not 'abc'"):
        SCHEDULES.register("fine", aliases="abc")(type("Mine", (Schedule,), {"__module__": __name__}))  # type: ignore[arg-type]


def test_only_classes_are_registered() -> None:
    with pytest.raises(SpecError, match="should be a class, not"):
        SCHEDULES.register("fine")(lambda: None)  # type: ignore[arg-type]


def test_ddpmxs_own_classes_are_not_wrapped() -> None:
    from ddpmx.components.registry import REGISTRIES

    ours = [registry.get(name) for registry in REGISTRIES.values() for name in registry.names()]
    ours = [cls for cls in ours if cls.__module__.startswith("ddpmx.")]
    assert len(ours) > 60
    assert not [
        cls
        for cls in ours
        for base in cls.__mro__
        for value in vars(base).values()
        if hasattr(value, "of_plugin")
    ]


@pytest.mark.parametrize("where", ["open", "log", "close"])
def test_a_tracker_that_exits_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    class Session:
        def log(self, event: object) -> None:
            if where == "log":
                raise SystemExit(0)

        def close(self, status: str) -> None:
            if where == "close":
                raise SystemExit(0)

    class Exits(Tracker):
        def open(self, folder: Path, config: dict[str, object], resume: bool) -> Session:  # type: ignore[override]
            if where == "open":
                raise SystemExit(0)
            return Session()

    faults.add_module(__name__)
    trackers = Trackers.open([Exits()], tmp_path, {}, False)
    trackers.log({"event": "step"})
    trackers.close("finished")
    said = capsys.readouterr().err
    assert "the tracker Exits failed (the plugin" in said
    assert f"{where} failed: SystemExit: 0" in said
