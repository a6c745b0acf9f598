"""A run folder may be a stranger's: its plugins run only if this user has run the same code before, or allows
it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import py_compile
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from plugin_disguises import DISGUISES

from ddpmx.plugins import loading as plugins
from ddpmx.plugins import trust
from ddpmx.spec.loading import load
from ddpmx.storage import checkpoint
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.request import Request
from ddpmx.training.experiment import build, choose_device
from ddpmx.training.state import TrainState, prepare

Run = Callable[..., Result]
CODE = "import pathlib, ddpmx\npathlib.Path({marker!r}).touch()\n"
COMMANDS = {
    "sample": ("sample", "{run}", "-n", "1", "--steps", "2", "--out", "{out}/a.png"),
    "evaluate": ("evaluate", "{run}", "-n", "4", "--metrics", "pixel_fd"),
    "export": (
        "export",
        "{run}",
        "{out}/exported",
        "--to",
        "diffusers",
        "-s",
        "sampler={{name: ddpm, variance: posterior}}",
    ),
    "track": ("track", "{run}", "--to", "jsonl", "-s", "path={out}/events.jsonl"),
    "run": ("run", "{run}/spec.yaml", "--out", "{out}/new"),
    "dry run": ("run", "{run}/spec.yaml", "--dry-run"),
    "resume": ("run", "{run}/spec.yaml", "--resume", "--run", "{run}", "--out", "{out}/runs"),
    "sweep": ("sweep", "{run}/spec.yaml", "-s", "sweep.seed=[0, 1]", "--out", "{out}/new"),
    "sweep --print": ("sweep", "{run}/spec.yaml", "-s", "sweep.seed=[0, 1]", "--print"),
    "validate": ("validate", "{run}/spec.yaml"),
    "show": ("show", "{run}/spec.yaml", "--out", "{out}/show.html"),
    "check": ("check", "{run}/plugins/mine.py"),
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def run(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with a plugin, unpacked on a machine where the plugin has never run."""
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
    """Forget what another process would not know."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(trust, "_known", set())


def command(name: str, run: Path, tmp_path: Path) -> list[str]:
    return [part.format(run=run, out=tmp_path) for part in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_strangers_plugin_does_not_run(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, name: str
) -> None:
    result = ddpmx(*command(name, run, tmp_path))
    assert result.code == 2
    assert "Traceback" not in result.err
    assert str(run / "plugins" / "mine.py") in result.err
    assert "--allow-plugins" in result.err
    assert not marker.exists()
    assert not trust._known


@pytest.mark.parametrize("disguise", DISGUISES)
def test_nor_by_any_detour(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, disguise: Callable[[Path, Path], Path]
) -> None:
    place = tmp_path / "own"
    place.mkdir()
    spec = disguise(run, place)
    result = ddpmx("validate", spec)
    assert result.code == 2
    assert "that you have not run on this machine" in result.err
    assert not marker.exists()
    assert ddpmx("validate", spec, "--allow-plugins").code == 0
    assert marker.exists()


def test_a_users_own_spec_is_free_even_where_it_extends_a_run(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path
) -> None:
    (tmp_path / "again.yaml").write_text(f"extends: {run}/spec.yaml\nplugins: [mine.py]\n")
    assert ddpmx("validate", tmp_path / "again.yaml").code == 0
    assert marker.exists()


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


def test_other_content_under_the_same_name_is_asked_for_again(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path
) -> None:
    assert ddpmx(*command("sample", run, tmp_path), "--allow-plugins").code == 0
    marker.unlink()
    plugin = run / "plugins" / "mine.py"
    plugin.write_text(plugin.read_text() + "\n")
    assert ddpmx(*command("sample", run, tmp_path)).code == 2
    assert not marker.exists()


def test_a_spec_file_makes_its_plugins_known(
    ddpmx: Run, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ddpmx("validate", tmp_path / "tiny.yaml").code == 0
    forget(monkeypatch)
    assert ddpmx(*command("sample", run, tmp_path)).code == 0


def test_a_module_is_a_plugin_too(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(tmp_path / "mine.py", tmp_path / "strange_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    spec = run / "spec.yaml"
    spec.write_text(spec.read_text().replace("plugins/mine.py", "strange_module"))
    result = ddpmx(*command("sample", run, tmp_path))
    assert result.code == 2
    assert "strange_module" in result.err
    assert not marker.exists()


@pytest.mark.parametrize("command", ["validate", "run", "show"])
def test_a_module_in_the_working_folder_too(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (run / "plugins" / "mine.py").rename(run / "strange_module.py")
    (run / "spec.yaml").write_text(
        (run / "spec.yaml").read_text().replace("plugins/mine.py", "strange_module")
    )
    monkeypatch.chdir(run)
    result = ddpmx(command, "spec.yaml")
    assert result.code == 2
    assert "strange_module" in result.err
    assert not marker.exists()


@pytest.mark.parametrize("package", [False, True])
def test_a_users_own_spec_finds_modules_beside_it(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, package: bool
) -> None:
    monkeypatch.setattr(
        "sys.path", [entry for entry in sys.path if entry]
    )  # without "", which a test runner may add
    name = f"modules_beside_{package}"
    own = tmp_path / "own"
    (own / name).mkdir(parents=True)
    file = own / name / "__init__.py" if package else own / f"{name}.py"
    file.write_text(f"import helper_of_{name}\n{CODE.format(marker=str(marker))}")
    (own / f"helper_of_{name}.py").write_text("")
    (own / "torch.py").write_text("raise RuntimeError('not torch')")
    (own / "spec.yaml").write_text(TINY + f"plugins: [{name}]\n")
    result = ddpmx("validate", own / "spec.yaml")
    assert result.code == 0, result.err
    assert marker.exists()


def test_a_run_of_ones_own_finds_its_module_in_the_working_folder(
    ddpmx: Run, run: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trust depends on the content that was run on purpose, not on its name."""
    elsewhere = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr("sys.path", [*elsewhere])
    monkeypatch.chdir(tmp_path)
    Path("own_module.py").write_text(CODE.format(marker=str(marker)))
    Path("own.yaml").write_text(TINY + "plugins: [own_module]\n")
    (run / "spec.yaml").write_text((run / "spec.yaml").read_text().replace("plugins/mine.py", "own_module"))
    assert ddpmx("validate", "own.yaml").code == 0
    for edit, code in (("", 0), ("# another\n", 2)):
        marker.unlink(missing_ok=True)
        forget(monkeypatch)
        sys.modules.pop("own_module", None)
        sys.path[:] = elsewhere
        Path("own_module.py").write_text(CODE.format(marker=str(marker)) + edit)
        assert ddpmx("validate", run / "spec.yaml").code == code
        assert marker.exists() == (code == 0)


def test_an_installed_plugin_that_fails_stops_nothing_else(
    ddpmx: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("broken", "broken_package:thing", plugins.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    for command in (("validate", tiny), ("list",)):
        plugins.load_installed.cache_clear()
        result = ddpmx(*command)
        assert result.code == 0, result.err
        assert "warning: the entry point broken is skipped: " in result.err
        assert "broken_package failed on import: SystemExit: 0" in result.err
    plugins.load_installed.cache_clear()


def test_points_of_a_sweep_take_nothing_from_it_either(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = Request(run / "spec.yaml", (), tmp_path).command("a")
    assert command[1:4] == ("-P", "-m", "ddpmx")
    assert "--allow-plugins" not in command
    with trust.PERMISSION.granted():
        assert Request(run / "spec.yaml", (), tmp_path).command("a")[-1] == "--allow-plugins"


def test_compare_runs_nothing(ddpmx: Run, run: Path, tmp_path: Path, marker: Path) -> None:
    result = ddpmx("compare", run, "--html", tmp_path / "c.html")
    assert result.code == 0, result.err
    assert not marker.exists()


def test_what_runs_is_what_was_hashed(run: Path, tmp_path: Path, marker: Path, ddpmx: Run) -> None:
    """A .pyc beside a harmless plugin, of the kind that Python loads without checking the source."""
    plugin, evil = run / "plugins" / "mine.py", tmp_path / "evil.py"
    shutil.copyfile(plugin, evil)
    plugin.write_text("# nothing\n")
    compiled = importlib.util.cache_from_source(str(plugin))
    py_compile.compile(
        str(evil), cfile=compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert ddpmx(*command("sample", run, tmp_path), "--allow-plugins").code == 0
    assert not marker.exists()
