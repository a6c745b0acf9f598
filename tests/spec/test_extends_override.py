"""`-s extends=FILE` replaces what a spec extends, and its errors name the override."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from made_runs import make_run

from ddpmx.errors import SpecError
from ddpmx.spec.loading import load
from ddpmx.sweeps.points import load_sweep
from ddpmx.sweeps.request import Request

Run = Callable[..., Result]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """specs/child.yaml, which extends specs/base.yaml; large.yaml and slow.yaml are in the working folder."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "base.yaml").write_text(TINY)
    (tmp_path / "large.yaml").write_text(f"extends: specs/base.yaml\n{'train: {batch_size: 32}'}\n")
    (tmp_path / "slow.yaml").write_text("train: {lr: 1e-5}\n")
    path = tmp_path / "specs" / "child.yaml"
    path.write_text("extends: base.yaml\nname: child\n")
    monkeypatch.chdir(tmp_path)
    return path


def test_it_replaces_the_files_own_and_is_relative_to_the_working_folder(child: Path) -> None:
    assert load(child).train.batch_size == 64
    spec = load(child, ["train.warmup_steps=3", "extends=large.yaml"])
    assert (spec.name, spec.train.batch_size, spec.train.warmup_steps) == ("child", 32, 3)
    spec = load(child, ["extends=[large.yaml, slow.yaml]"])
    assert (spec.train.batch_size, spec.train.lr) == (32, 1e-5)
    with pytest.raises(SpecError, match="dataset"):  # what base.yaml had is not there
        load(child, ["extends=slow.yaml"])


def test_a_file_that_extends_none_can_be_given_one(child: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("name: bare\n")
    assert load(bare, ["extends=specs/base.yaml"]).name == "bare"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("extends=none.yaml", r"^-s extends=none\.yaml: extends: .*none\.yaml.*No such file"),
        ("extends=[slow.yaml, none.yaml]", r"^-s extends=\[slow.*none\.yaml.*No such file"),
        ("extends=specs/child.yaml", r"^-s extends=specs/child\.yaml: extends: extends itself: child\.yaml"),
        ("extends=3", r"^-s extends=3: extends: should be a file or a list of files"),
        ("extends=null", r"^-s extends=null: extends: should be a file or a list of files"),
        ("extends.0=slow.yaml", r"^-s extends\.0=slow\.yaml: extends: should be a file or a list of files"),
    ],
)
def test_errors_name_the_override(child: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(child, [override])


def test_a_circle_is_reported_at_the_line_that_closes_it(child: Path, tmp_path: Path) -> None:
    (tmp_path / "around.yaml").write_text("seed: 1\nextends: specs/child.yaml\n")
    with pytest.raises(SpecError, match=r"^around\.yaml:2: extends: extends itself: child\.yaml -> around"):
        load(child, ["extends=around.yaml"])


def test_commands_of_a_sweeps_points_work_from_any_folder(child: Path, tmp_path: Path) -> None:
    child.write_text(child.read_text() + "sweep: {seed: [0, 1]}\n")
    for value, batch_size in (("large.yaml", 32), ("[large.yaml, slow.yaml]", 32), ("specs/base.yaml", 64)):
        request = Request(Path("specs/child.yaml"), (f"extends={value}",), tmp_path / "runs")
        command = request.command("child-seed_1")
        arguments = [command[index + 1] for index, part in enumerate(command) if part == "-s"]
        assert str(tmp_path) in arguments[0]
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(elsewhere)
            grid = load_sweep(command[command.index("run") + 1], arguments)
        assert grid.point("child-seed_1").train.batch_size == batch_size


def test_the_commands_take_it(ddpmx: Run, child: Path) -> None:
    assert ddpmx("validate", child, "-s", "extends=large.yaml").code == 0
    result = ddpmx("validate", child, "-s", "extends=none.yaml")
    assert result.code == 2
    assert "-s extends=none.yaml" in result.err


def test_a_run_is_complete_and_extends_nothing(ddpmx: Run, child: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    result = ddpmx("evaluate", run, "-s", "extends=slow.yaml", "--metrics", "pixel_fd")
    assert result.code == 2
    assert "-s extends=slow.yaml: extends: a run's spec is complete" in result.err
