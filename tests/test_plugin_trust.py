"""A run's folder may be a stranger's: its plugins run only where this user has run the same code before, or says so."""

from __future__ import annotations

import importlib.util
import py_compile
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result

import ddpmx.trust
from ddpmx import checkpoint, plugins
from ddpmx.experiment import build, choose_device
from ddpmx.run_folder import RunFolder
from ddpmx.spec_file import load
from ddpmx.train import TrainState, prepare

Run = Callable[..., Result]
CODE = "import pathlib, ddpmx\npathlib.Path({marker!r}).touch()\n"
COMMANDS = {
    "sample": ("sample", "{run}", "-n", "1", "--steps", "2", "--out", "{out}/a.png"),
    "evaluate": ("evaluate", "{run}", "-n", "4", "--metrics", "pixel_fd"),
    "export": ("export", "{run}", "{out}/exported", "--to", "diffusers", "-s", "sampler={{name: ddpm, variance: posterior}}"),
    "track": ("track", "{run}", "--to", "jsonl", "-s", "path={out}/events.jsonl"),
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def run(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with a plugin, unpacked on a machine that never ran it."""
    (tmp_path / "mine.py").write_text(CODE.format(marker=str(marker)))
    (tmp_path / "tiny.yaml").write_text(TINY + "plugins: [mine.py]\n")
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "their-cache"))
    spec = load(tmp_path / "tiny.yaml")
    folder = RunFolder.create(tmp_path / "runs", spec)
    device = choose_device("cpu")
    checkpoint.save(folder.checkpoints, TrainState(step=1, epoch=1), prepare(build(spec, device)))
    folder.add_event({"event": "end", "status": "finished", "step": 1, "why": ""})
    folder.set_status("finished")
    monkeypatch.setenv("DDPMX_CACHE", str(tmp_path / "my-cache"))
    forget(monkeypatch)
    marker.unlink()
    return folder.path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process would not know."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(ddpmx.trust, "_known", set())


def command(name: str, run: Path, tmp_path: Path) -> list[str]:
    return [part.format(run=run, out=tmp_path) for part in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_strangers_plugin_does_not_run(ddpmx: Run, run: Path, tmp_path: Path, marker: Path, name: str) -> None:
    result = ddpmx(*command(name, run, tmp_path))
    assert result.code == 2
    assert "Traceback" not in result.err
    assert str(run / "plugins" / "mine.py") in result.err
    assert "--allow-plugins" in result.err
    assert not marker.exists()


@pytest.mark.parametrize("name", ["sample", "track"])
def test_it_runs_when_the_user_says_so_and_is_known_from_then_on(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    result = ddpmx(*command(name, run, tmp_path), "--allow-plugins")
    assert result.code == 0, result.err
    marker.unlink()
    forget(monkeypatch)
    assert ddpmx(*command("sample", run, tmp_path)).code == 0
    assert marker.exists()


def test_other_content_under_the_same_name_is_asked_for_again(ddpmx: Run, run: Path, tmp_path: Path, marker: Path) -> None:
    assert ddpmx(*command("sample", run, tmp_path), "--allow-plugins").code == 0
    marker.unlink()
    plugin = run / "plugins" / "mine.py"
    plugin.write_text(plugin.read_text() + "\n")
    assert ddpmx(*command("sample", run, tmp_path)).code == 2
    assert not marker.exists()


def test_a_spec_file_makes_its_plugins_known(ddpmx: Run, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ddpmx("validate", tmp_path / "tiny.yaml").code == 0
    forget(monkeypatch)
    assert ddpmx(*command("sample", run, tmp_path)).code == 0


def test_a_module_is_a_plugin_too(ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(tmp_path / "mine.py", tmp_path / "strange_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    spec = run / "spec.yaml"
    spec.write_text(spec.read_text().replace("plugins/mine.py", "strange_module"))
    result = ddpmx(*command("sample", run, tmp_path))
    assert result.code == 2
    assert "strange_module" in result.err
    assert not marker.exists()


def test_compare_runs_nothing(ddpmx: Run, run: Path, tmp_path: Path, marker: Path) -> None:
    result = ddpmx("compare", run, "--html", tmp_path / "c.html")
    assert result.code == 0, result.err
    assert not marker.exists()


def test_what_runs_is_what_was_hashed(run: Path, tmp_path: Path, marker: Path, ddpmx: Run) -> None:
    """A .pyc beside a harmless plugin, of the kind that Python takes without looking at the source."""
    plugin, evil = run / "plugins" / "mine.py", tmp_path / "evil.py"
    shutil.copyfile(plugin, evil)
    plugin.write_text("# nothing\n")
    compiled = importlib.util.cache_from_source(str(plugin))
    py_compile.compile(str(evil), cfile=compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert ddpmx(*command("sample", run, tmp_path), "--allow-plugins").code == 0
    assert not marker.exists()
