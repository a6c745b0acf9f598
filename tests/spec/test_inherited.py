"""Giving a component's block another `name` drops the inherited keys that the new component lacks, and no
others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, only_run

from ddpmx.errors import SpecError
from ddpmx.runs.evaluate import EvaluateRequest, evaluate
from ddpmx.spec.loading import load, load_run
from ddpmx.spec.schema import Spec
from ddpmx.storage.folder import RunFolder
from ddpmx.sweeps.points import load_sweep
from ddpmx.training.experiment import choose_device

Run = Callable[..., Result]

BASE = """
name: base
dataset: digits
model: {name: ddpm_unet, dim: 8, dim_mults: [1, 2], attention: [4], dropout: 0.0}
schedule: {name: linear, timesteps: 60, beta_end: 0.03, snr_shift: 2.0}
loss: {weighting: {name: learned, base: {name: p2, gamma: 2.0}}}
time: {name: logit_normal, std: 2.0}
sampler: {name: ddpm, variance: beta, clip: {name: dynamic, percentile: 0.9}}
train: {steps: 2, optimizer: {name: adam, betas: [0.8, 0.9]}}
evaluate: {sampler: {steps: 5, eta: 0.5, grid: linspace}, samples: 8, grid: 4, metrics: METRICS}
""".replace("METRICS", "[{name: fd_cnn, reference: train}, is_cnn]")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def child(base: Path, text: str, name: str = "child.yaml", extends: str = "base.yaml") -> Path:
    path = base.with_name(name)
    path.write_text(f"extends: {extends}\n{text}\n")
    return path


# The block, its new name, the keys that stay with their values, and the keys that are dropped.
CHANGES: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("model", "convnext_unet", {"dim": 8, "dim_mults": [1, 2]}, ["attention", "dropout"]),
    ("schedule", "cosine", {"timesteps": 60, "snr_shift": 2.0}, ["beta_end"]),
    ("time", "uniform", {}, ["std"]),
    ("loss.weighting", "min_snr", {}, ["base"]),
    ("loss.weighting.base", "constant", {}, ["gamma"]),
    ("sampler", "heun", {"clip": {"name": "dynamic", "percentile": 0.9}}, ["variance"]),
    ("train.optimizer", "sgd", {}, ["betas"]),
    ("evaluate.sampler", "dpmpp_2m", {"steps": 5, "grid": "linspace"}, ["eta"]),
]
IDS = [block for block, *_ in CHANGES]


def nested(dotted: str, value: Any) -> Any:
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def written(block: Any) -> str:
    """A block as the lines of a spec."""
    return str(block)[1:-1].replace("'", "")


def at(spec: Spec, dotted: str) -> Any:
    value: Any = spec.resolved()
    for key in dotted.split("."):
        value = value[int(key) if key.isdecimal() else key]
    return value


def same(spec: Spec, block: str, name: str, kept: dict[str, Any], gone: list[str]) -> None:
    """Check that the block is the new component's with the kept values, and that one note names the dropped
    keys and where they were written."""
    found = at(spec, block)
    assert found["name"] == name
    assert {key: found[key] for key in kept} == kept
    assert not set(gone) & set(found)
    (note,) = spec.notes
    line = next(n for n, text in enumerate(BASE.splitlines(), 1) if text.startswith(block.split(".")[0]))
    assert note.startswith(f"{block}: '{name}' does not have {' and '.join(gone)}, set for '")
    assert note.endswith(f"base.yaml:{line}: left out")


@pytest.mark.parametrize(("block", "name", "kept", "gone"), CHANGES, ids=IDS)
def test_every_way_to_give_another_name_drops_the_same_keys(
    base: Path, block: str, name: str, kept: dict[str, Any], gone: list[str]
) -> None:
    changes = [
        (base, (f"{block}={name}",)),
        (base, (f"{block}.name={name}",)),
        (base, (f"{block}={{name: {name}}}",)),
    ]
    changes += [
        (child(base, written(nested(block, how)), f"{i}.yaml"), ())
        for i, how in enumerate((name, {"name": name}))
    ]
    for path, overrides in changes:
        same(load(path, overrides), block, name, kept, gone)
    fields = (f"{block}: [{name}]", f"{block}.name: [{name}]")
    for axis in (*fields, f"zip: {{{block}.name: [{name}]}}", f"points: [{{name: a, {block}: {name}}}]"):
        (point,) = load_sweep(child(base, f"sweep: {{{axis}}}", "sweep.yaml")).points
        same(point, block, name, kept, gone)


@pytest.mark.parametrize(("block", "name", "kept", "gone"), CHANGES, ids=IDS)
def test_a_key_beside_the_new_name_that_it_lacks_is_refused(
    base: Path, block: str, name: str, kept: dict[str, Any], gone: list[str]
) -> None:
    key, value = gone[-1], at(load(base), f"{block}.{gone[-1]}")
    override = f"{block}.{key}={str(value).replace(chr(39), '')}"
    for overrides in itertools.permutations((f"{block}.name={name}", override)):
        with pytest.raises(SpecError, match=rf"^-s .*{key}.*: {block}\.{key}: unknown key"):
            load(base, overrides)
    with pytest.raises(SpecError, match=rf"child\.yaml:2: {block}\.{key}: unknown key"):
        load(child(base, written(nested(block, {"name": name, key: value}))))
    with pytest.raises(SpecError, match=rf"{block}\.{key}: unknown key"):
        load_sweep(child(base, f"sweep: {{{block}.name: [{name}]}}", "sweep.yaml"), (override,))


def test_the_order_of_overrides_does_not_matter(base: Path) -> None:
    overrides = (
        "evaluate.sampler.name=ddpm",
        "evaluate.sampler.steps=7",
        "evaluate.sampler.variance=beta",
        "train.lr=1e-3",
    )
    specs = [load(base, order) for order in itertools.permutations(overrides)]
    assert all(spec.resolved() == specs[0].resolved() and spec.notes == specs[0].notes for spec in specs)
    assert at(specs[0], "evaluate.sampler.steps") == 7
    assert len(specs[0].notes) == 1


def test_what_the_last_component_has_comes_through_a_chain(base: Path) -> None:
    child(base, "schedule: cosine", "one.yaml")
    child(base, "schedule: {name: sigmoid, beta_start: 0.002}", "two.yaml", "one.yaml")
    spec = load(child(base, "name: three", "three.yaml", "two.yaml"))
    assert at(spec, "schedule.beta_end") == 0.03  # cosine lacks it, but the last component has it
    assert at(spec, "schedule.beta_start") == 0.002
    assert spec.notes == ()
    spec = load(child(base, "schedule: edm", "four.yaml", "three.yaml"))
    places = f"{base}:5 and {base.with_name('two.yaml')}:2"
    note = "schedule: 'edm' does not have beta_end and beta_start, set for 'linear' and 'sigmoid'"
    assert spec.notes == (f"{note} at {places}: left out",)


def test_a_misspelt_key_of_the_base_is_not_left_out_in_silence(base: Path) -> None:
    base.write_text(BASE.replace("beta_end", "beta_ent"))
    with pytest.raises(SpecError, match=r"base\.yaml:5: schedule\.beta_ent: unknown key"):
        load(child(base, "schedule: cosine"))


def test_a_fragment_without_a_name_belongs_to_the_base_that_it_changes(base: Path) -> None:
    base.with_name("fragment.yaml").write_text("schedule: {beta_start: 0.002}\n")
    path = base.with_name("both.yaml")
    path.write_text("extends: [base.yaml, fragment.yaml]\nschedule: cosine\n")
    (note,) = load(path).notes
    assert "beta_end and beta_start, set for 'linear'" in note
    rest = (
        "name: a\ndataset: digits\nmodel: {name: convnext_unet, dim: 8}\n"
        "schedule: {name: cosine, timesteps: 9}\n"
    )
    path.write_text("extends: [fragment.yaml]\n" + rest)
    with pytest.raises(SpecError, match=r"fragment\.yaml:1: schedule\.beta_start: unknown key"):
        load(path)  # cosine is the first name and replaces no other


def test_an_item_of_a_list(base: Path) -> None:
    spec = load(
        base,
        [
            "evaluate.metrics.0.name=is_cnn",
            "evaluate.metrics.1.name=fd_cnn",
            "evaluate.metrics.1.reference=train",
        ],
    )
    assert [metric["name"] for metric in at(spec, "evaluate.metrics")] == ["is_cnn", "fd_cnn"]
    assert spec.notes == (
        f"evaluate.metrics.0: 'is_cnn' does not have reference, set for 'fd_cnn' at {base}:10: left out",
    )
    with pytest.raises(
        SpecError,
        match=r"^-s evaluate\.metrics\.1\.reference=train: evaluate\.metrics\.1\.reference: unknown key",
    ):
        load(base, ["evaluate.metrics.1.reference=train"])
    assert load(child(base, "evaluate: {metrics: [is_cnn]}")).notes == ()  # a list is replaced as a whole


def test_null_and_aliases(base: Path) -> None:
    assert load(base, ["schedule=null", "schedule={name: cosine, timesteps: 9}"]).notes == ()
    assert load(child(base, "time: {name: uniform, std: null}")).notes == ()
    noise = child(base, "prediction: noise")
    assert at(load(noise, ["prediction=epsilon"]), "prediction.name") == "epsilon"


def test_a_plugin_that_is_loaded_after_the_merge(base: Path) -> None:
    base.with_name("mine.py").write_text(
        "import ddpmx, torch\n\n@ddpmx.SCHEDULES.register('inherited_power')\n"
        "class Power(ddpmx.Schedule):\n    '''Mine.'''\n"
        "    beta_end: float = 0.5\n    power: float = 2.0\n    def beta(self):\n"
        "        ramp = torch.linspace(0.01, 1, self.timesteps, dtype=torch.float64)\n"
        "        return self.beta_end * ramp ** self.power\n"
    )
    mine = child(base, "plugins: [mine.py]\nschedule: {name: inherited_power, power: 3.0}", "mine.yaml")
    assert at(load(mine), "schedule.beta_end") == 0.03
    assert load(mine).notes == ()
    (note,) = load(mine, ["schedule.name=linear"]).notes
    assert "'linear' does not have power, set for 'inherited_power' at " in note


def test_points_do_not_see_each_others_blocks(base: Path) -> None:
    grid = load_sweep(child(base, "sweep: {model.name: [convnext_unet, ddpm_unet], seed: [0, 1]}"))
    assert [len(point.notes) for point in grid.points] == [1, 1, 0, 0]
    assert [at(point, "model").get("attention") for point in grid.points] == [None, None, [4], [4]]


def test_commands_say_it_once(ddpmx: Run, base: Path, tmp_path: Path) -> None:
    note = "note: model: 'convnext_unet' does not have attention and dropout"
    path = child(base, "model: convnext_unet\nevaluate: {metrics: []}")
    for arguments in (
        ("validate", path),
        ("show", path, "--out", tmp_path / "page.html"),
        ("run", path, "--out", tmp_path / "runs"),
    ):
        result = ddpmx(*arguments)
        assert result.code == 0, result.err
        assert (result.out + result.err).count(note) == 1
    run = only_run(tmp_path / "runs")
    assert load_run(run).notes == ()
    assert "attention" not in RunFolder(run).resolved()["model"]
    before = RunFolder(run).resolved()["evaluate"]["sampler"]
    overrides = ("evaluate.sampler.steps=3", "evaluate.sampler.name=heun")
    request = EvaluateRequest(metrics=("pixel_fd",), overrides=overrides)
    (event,) = evaluate(run, request, device=choose_device("cpu"))
    assert (event["sampler"]["name"], event["sampler"]["steps"], event["sampler"]["grid"]) == (
        "heun",
        3,
        before["grid"],
    )
    swept = ddpmx(
        "sweep", child(base, "sweep: {model.name: [convnext_unet, ddpm_unet]}", "s.yaml"), "--print"
    )
    assert swept.code == 0, swept.err
