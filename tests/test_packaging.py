"""What the project says of itself is true: dependencies, pins, experiments, and every command and snippet of the README."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ddpmx.cli import cli
from ddpmx.components.registry import SAMPLERS
from ddpmx.runs import preflight
from ddpmx.spec import loading as spec_file
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import load_all, load_sweep
from ddpmx.training import experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXPERIMENTS = sorted(file for file in (ROOT / "experiments").rglob("*.yaml") if file.parent.name != "base")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def names(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported(folder: str) -> set[str]:
    """The distributions that the modules of a folder import."""
    modules = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(str(node.module).split(".")[0])
    owners = packages_distributions()
    return {canonicalize_name(owner) for module in modules for owner in owners.get(module, ())} - {"ddpmx"}


def test_dependencies_are_what_the_code_imports():
    extras = PROJECT["optional-dependencies"]
    core = names(PROJECT["dependencies"])
    optional = [line for extra, lines in extras.items() if extra not in ("test", "dev") for line in lines]
    assert core <= imported("ddpmx") <= core | names(optional)
    assert imported("tests") <= core | names([line for extra in extras.values() for line in extra])


def test_every_dependency_has_a_range_and_a_pin_within_it():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    extras = [
        lines for name, lines in PROJECT["optional-dependencies"].items() if name != "fuzz"
    ]  # no part of [dev]
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        if requirement.name != "ddpmx":
            assert ">=" in str(requirement.specifier), line
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line
    assert (pins["torch"], pins["torchvision"]) == ("2.14.1", "0.29.1")


def test_the_pins_are_complete():
    spec = importlib.util.spec_from_file_location("pins", ROOT / "tools" / "pins.py")
    assert spec is not None
    assert spec.loader is not None
    pins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pins)
    listed = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert pins.closure(pins.declared()) <= listed


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_experiments_are_valid_and_named_like_their_files(file: Path):
    for spec in load_all(file):
        experiment.check(spec)
        assert spec.name == file.stem or spec.name.startswith(f"{file.stem}-")
    assert file.read_text().startswith("# ")


def _clip(spec: Spec) -> float:
    """Of the study's weightings only vlb has one."""
    return getattr(spec.loss.weighting, "clip", 0)


def test_the_studys_three_grids():
    def grid(name: str) -> list[tuple[str, int, str, str, float]]:
        specs = load_sweep(ROOT / "experiments" / "study" / f"{name}.yaml").points
        return [
            (
                spec.dataset.component_name,
                spec.schedule.timesteps,
                spec.schedule.component_name,
                spec.loss.norm,
                _clip(spec),
            )
            for spec in specs
        ]

    data = "fashion_mnist"
    assert grid("timesteps") == [(data, t, "linear", "l2", 0) for t in (100, 200, 300, 400, 500)]
    assert grid("schedules") == [
        (data, 300, schedule, "l2", 0) for schedule in ("linear", "quadratic", "cosine", "sigmoid")
    ]
    plain = [(data, 500, "linear", norm, 0) for norm in ("l2", "l1", "huber")]
    assert grid("losses") == plain + [(data, 500, "linear", "l2", clip) for clip in (1, 10, 100)]


def test_the_study_differs_from_its_base_only_where_it_asks_something():
    base = spec_file.load(ROOT / "experiments" / "fashion_mnist.yaml").resolved()
    for file in EXPERIMENTS:
        if file.stem.startswith("fashion_mnist") or file.parent.name == "study":
            for spec in load_all(file):
                assert {key for key, value in spec.resolved().items() if value != base[key]} <= {
                    "name",
                    "schedule",
                    "loss",
                }, spec.name


def test_the_readme_lists_exactly_the_commands_and_options_there_are():
    table = set(re.findall(r"^\| `([a-z]+)\b", README, re.MULTILINE))
    assert table == set(cli.commands)
    for command, rest in re.findall(r"(?:`|python -m )ddpmx ([a-z]+)\b([^`\n]*)", README, re.MULTILINE):
        options = {name for parameter in cli.commands[command].params for name in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= options, (command, rest)
    for command, rest in re.findall(r"^\| `([a-z]+)\b([^`]*)`", README, re.MULTILINE):
        options = {name for parameter in cli.commands[command].params for name in parameter.opts}
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= options, (command, rest)


def test_the_readmes_files_and_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9_-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9_-]+)", README)) <= targets
    for path in re.findall(r"\b(?:ddpmx|experiments|tests|tools)/[\w/.-]*\w", README):
        assert (ROOT / path).exists(), path
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", README):
        assert (ROOT / picture).exists(), picture


def test_the_readmes_plugin_runs_from_its_spec(tmp_path: Path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    for block in blocks("python") + blocks("yaml"):
        first = re.match(r"# (\S+\.(?:py|yaml))\n", block)
        if first:
            (tmp_path / first[1]).write_text(block)
    spec = spec_file.load(tmp_path / "my_run.yaml")
    table = experiment.check(spec)
    assert spec.schedule.component_name == "power"
    assert table.beta[0].item() == pytest.approx(1e-4)
    assert table.beta[-1].item() == pytest.approx(0.05)
    assert len((tmp_path / "my_schedule.py").read_text().splitlines()) <= 10


def test_the_readmes_sweep_is_a_grid(tmp_path: Path):
    (block,) = [block for block in blocks("yaml") if block.startswith("sweep:")]
    (tmp_path / "grid.yaml").write_text(
        f"extends: {ROOT}/experiments/fashion_mnist.yaml\nname: grid\n{block}"
    )
    assert len(load_sweep(tmp_path / "grid.yaml").points) == 2 * 2 * 2


def test_the_recommended_spec_is_valid_and_sound(tmp_path: Path):
    """The block of docs/design_space.md, on the digits: no note of the preflight."""
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs/design_space.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "start.yaml").write_text(f"extends: {ROOT}/experiments/quickstart.yaml\nname: start\n{block}")
    spec = spec_file.load(tmp_path / "start.yaml")
    assert preflight.of_combination(spec, experiment.check(spec)) == []


def test_every_sampler_is_in_the_table_of_the_design_space():
    table = (ROOT / "docs/design_space.md").read_text()
    built_in = [name for name in SAMPLERS.names() if SAMPLERS.get(name).__module__.startswith("ddpmx.")]
    assert [name for name in built_in if not re.search(rf"^\| {name}\b", table, re.MULTILINE)] == []


def test_the_readmes_python_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    snippets = [block for block in blocks("python") if not block.startswith("# ")]
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})


def test_importing_ddpmx_or_its_command_line_does_not_import_torch():
    code = "import sys, ddpmx, ddpmx.cli; print(ddpmx.__version__, 'torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert answer == ["0.1.0", "False"]
