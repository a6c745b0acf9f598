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
from conftest import Result, only_run
from faulty_plugins import WRONG, write

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
