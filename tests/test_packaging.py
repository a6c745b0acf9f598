"""Dependencies, pins and experiments are right, and the README and docs/ match the code.

Every command, option, file, make target, link and snippet on these pages is checked.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import operator
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ddpmx
from ddpmx.cli import cli
from ddpmx.components.registry import SAMPLERS
from ddpmx.runs import preflight
from ddpmx.spec import loading as spec_file
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import load_all, load_sweep
from ddpmx.sweeps.trainings import trainings_of
from ddpmx.training import experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXPERIMENTS = sorted(
    file for file in (ROOT / "experiments").rglob("*.yaml") if file.parent.name not in ("base", "scales")
)


def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def snippets(pages: list[str], language: str) -> list[ParameterSet]:
    """(page, code) of the blocks that are no files to save, as those are that begin with `# name.suffix`.

    Those that train, or import diffusers, are slow.
    """
    trains = re.compile(r"ddpmx\.(run|train)\(|import .*diffusers")
    return [
        pytest.param(
            page, block, id=f"{page}-{index}", marks=[pytest.mark.slow] if trains.search(block) else []
        )
        for page in pages
        for index, block in enumerate(blocks(page, language))
        if not re.match(r"# \S+\.\w+\n", block)
    ]


def names(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported(folder: str) -> set[str]:
    """The distributions that the modules in a folder import."""
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
    ]  # which [dev] does not include
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
    specs = load_all(file)
    for spec in specs:
        assert spec.name == file.stem or spec.name.startswith(f"{file.stem}-")
        if spec.seed == specs[0].seed:  # the others have the same parts
            experiment.check(spec)
    assert file.read_text().startswith("# ")


def _clip(spec: Spec) -> float:
    """The weighting's clip; 0 for one without, as only vlb has it."""
    return getattr(spec.loss.weighting, "clip", 0)


def _study(name: str) -> list[Spec]:
    """The points of one of the study's sweeps with their first seed."""
    points = load_sweep(ROOT / "experiments" / "study" / f"{name}.yaml").points
    return [spec for spec in points if spec.seed == 0]


def test_the_studys_three_grids():
    def grid(name: str) -> list[tuple[int, str, str, float]]:
        return [
            (spec.schedule.timesteps, spec.schedule.component_name, spec.loss.norm, _clip(spec))
            for spec in _study(name)
        ]

    assert grid("timesteps") == [(t, "linear", "huber", 0) for t in (100, 200, 300, 400, 500)]
    schedules = ("linear", "quadratic", "cosine", "sigmoid")
    assert grid("schedules") == [(300, schedule, "huber", 0) for schedule in schedules]
    plain = [(500, "linear", norm, 0) for norm in ("l1", "l2", "huber")]
    assert grid("losses") == plain + [(500, "linear", "l2", clip) for clip in (1, 10, 100)]


def test_the_studys_points_differ_only_in_what_they_compare():
    sweeps = ("timesteps", "timesteps_rescaled", "schedules", "schedules_equal", "losses", "losses_repeat")
    base = _study("losses")[0].resolved()
    for spec in itertools.chain.from_iterable(map(_study, sweeps)):
        differing = {key for key, value in spec.resolved().items() if value != base[key]}
        assert differing <= {"name", "schedule", "loss"}, spec.name


def test_the_schedules_at_equal_signal_end_with_the_same_signal():
    signals = [float(spec.schedule.table().signal[-1]) for spec in _study("schedules_equal")]
    assert signals == pytest.approx([signals[0]] * 4, rel=1e-4)


def test_without_an_infinite_weight_no_clip_of_the_study_changes_anything():
    repeated = _study("losses_repeat")[-1].loss.weighting
    table = _study("losses_repeat")[-1].schedule.table()
    for clip in (1.0, 10.0, 100.0):
        clipped = repeated.model_copy(update={"clip": clip})
        assert torch.equal(clipped.weights(table, "epsilon"), repeated.weights(table, "epsilon"))


def test_the_readme_has_at_most_1000_words():
    assert len(README.split()) <= 1000


def options(command: str) -> set[str]:
    """The options of a command, as in `--out`."""
    return {name for parameter in cli.commands[command].params for name in parameter.opts}


def test_the_readmes_table_lists_exactly_the_commands():
    rows = re.findall(r"^\| `([a-z]+)\b([^`]*)`", README, re.MULTILINE)
    assert [command for command, _ in rows] == list(dict.fromkeys(command for command, _ in rows))
    assert {command for command, _ in rows} == set(cli.commands)
    for command, rest in rows:
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= options(command), (command, rest)


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_commands_and_options_exist(page: str):
    inline = re.findall(r"(?:`|python -m )ddpmx ([a-z]+)\b([^`\n]*)", text(page))
    in_blocks = [
        found
        for block in blocks(page, "sh")
        for found in re.findall(r"^ddpmx (\w+)(.*)", block, re.MULTILINE)
    ]
    for command, rest in inline + in_blocks:
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) <= options(command), (command, rest)
    existing = {option for command in cli.commands for option in options(command)}
    assert set(re.findall(r"`(--[a-z][a-z-]*)", text(page))) <= existing


def test_a_commands_section_names_its_own_options():
    sections = re.findall(
        r"^## ([a-z ]+)\n(.*?)(?=^## |\Z)", text("docs/commands.md"), re.MULTILINE | re.DOTALL
    )
    assert len(sections) >= 9
    for title, section in sections:
        own = {option for command in title.split(" and ") for option in options(command)}
        assert set(re.findall(r"`(--[a-z][a-z-]*)", section)) <= own, title


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_files_names_and_make_targets_exist(page: str):
    targets = set(re.findall(r"^([a-z0-9_-]+):.*## ", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9_-]+)\b", "\n".join(code(page)))) <= targets
    for path in re.findall(
        r"\b(?:ddpmx|csrc|docs|experiments|benchmarks|tests|tools)/[\w/.-]*\w", text(page)
    ):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`ddpmx((?:\.\w+)+)`", text(page)):
        operator.attrgetter(name[1:])(ddpmx)


def code(page: str) -> list[str]:
    """What a page shows as code: in backticks, or in a block of shell commands."""
    return re.findall(r"`([^`\n]+)`", text(page)) + blocks(page, "sh")


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_pictures_and_links_exist(page: str):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        if not target.startswith("https://"):
            assert ((ROOT / page).parent / target).exists(), target


def test_the_readme_links_to_every_page():
    assert set(PAGES[1:]) <= set(re.findall(r"\]\(([^)]*)\)", README))


def readme_files(folder: Path) -> None:
    """Write the files that the README shows, and the experiments that they extend, into a folder."""
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    for block in blocks("README.md", "python") + blocks("README.md", "yaml"):
        first = re.match(r"# (\S+\.(?:py|yaml))\n", block)
        if first:
            (folder / first[1]).write_text(block)


def test_the_readmes_plugin_runs_from_its_spec(tmp_path: Path):
    readme_files(tmp_path)
    spec = spec_file.load(tmp_path / "my_run.yaml")
    table = experiment.check(spec)
    assert spec.schedule.component_name == "power"
    assert table.beta[0].item() == pytest.approx(1e-4)
    assert table.beta[-1].item() == pytest.approx(0.05)
    assert len((tmp_path / "my_schedule.py").read_text().splitlines()) <= 10


def test_the_readmes_own_images_are_a_valid_spec(tmp_path: Path):
    readme_files(tmp_path)
    spec = spec_file.load(tmp_path / "my_images.yaml")
    experiment.check(spec)
    assert (spec.dataset.component_name, spec.dataset.size) == ("image_folder", 32)


@pytest.mark.parametrize(("page", "block"), snippets(PAGES[1:], "yaml"))
def test_the_yaml_of_a_page_is_valid_in_a_spec(page: str, block: str, tmp_path: Path):
    base = f"extends: {ROOT}/experiments/fashion_mnist.yaml\nname: snippet\n"
    (tmp_path / "snippet.yaml").write_text(base + block)
    for spec in load_all(tmp_path / "snippet.yaml"):
        experiment.check(spec)


def test_the_sweeps_in_docs_specs_are_grids(tmp_path: Path):
    grids = []
    for block in blocks("docs/specs.md", "yaml"):
        if block.startswith("sweep:"):
            spec = f"extends: {ROOT}/experiments/fashion_mnist.yaml\nname: grid\n{block}"
            (tmp_path / "grid.yaml").write_text(spec)
            grids.append(load_sweep(tmp_path / "grid.yaml").points)
    assert [len(points) for points in grids] == [2 * 2 * 2, 3 * 2 * 4, 4 * 3]
    assert [len(trainings_of(points)) for points in grids] == [8, 3, 12]


def test_the_recommended_spec_is_valid_and_sound(tmp_path: Path):
    """The preflight has no note about the block in docs/design_space.md, on the digits."""
    (block,) = blocks("docs/design_space.md", "yaml")
    (tmp_path / "start.yaml").write_text(f"extends: {ROOT}/experiments/quickstart.yaml\nname: start\n{block}")
    spec = spec_file.load(tmp_path / "start.yaml")
    assert preflight.spec_notes(spec, experiment.check(spec)) == []


def test_every_sampler_is_in_the_table_of_the_design_space():
    table = text("docs/design_space.md")
    built_in = [name for name in SAMPLERS.names() if SAMPLERS.get(name).__module__.startswith("ddpmx.")]
    assert [name for name in built_in if not re.search(rf"^\| {name}\b", table, re.MULTILINE)] == []


@pytest.mark.parametrize(("page", "snippet"), snippets(PAGES, "python"))
def test_the_python_of_a_page_runs(page: str, snippet: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, page, "exec"), {})


def test_importing_ddpmx_or_its_command_line_does_not_import_torch():
    code = "import sys, ddpmx, ddpmx.cli; print(ddpmx.__version__, 'torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert answer == ["0.1.0", "False"]
