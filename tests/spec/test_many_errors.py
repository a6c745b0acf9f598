"""All errors of a spec are reported at once, each with its position. Numbers and lists on the command
line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from made_runs import make_run
from refusals import refused

from ddpmx.errors import MOST_FINDINGS, Findings, Mark, SpecError
from ddpmx.spec.checks import check
from ddpmx.spec.loading import load

Run = Callable[..., Result]


def test_every_finding_has_its_line_field_and_hint(ddpmx: Run, tiny: Path) -> None:
    text = TINY.replace("timesteps: 20", "timestep: 20, s: -1").replace(
        "lr: 1e-3", "lr: 0, foo: 1, optimizer: adm"
    )
    tiny.write_text(
        text.replace("samples: 8", "samples: 8, metrics: [fd_cn, {name: is_cnn, split: 2}]")
        + "sampler: {name: ddim, gird: all}\n"
    )
    lines = refused(
        ddpmx("validate", tiny),
        f"error: {tiny}:5: schedule.timestep: unknown key; did you mean 'timesteps'?",
        f"error: {tiny}:5: schedule.s: should be greater than or equal to 0, not -1",
        f"error: {tiny}:6: train.lr: should be greater than 0, not 0",
        f"error: {tiny}:6: train.foo: unknown key; valid: ",
        f"error: {tiny}:6: train.optimizer.name: unknown optimizer 'adm'; did you mean 'adam'?",
        f"error: {tiny}:7: evaluate.metrics.0.name: unknown metric 'fd_cn'; did you mean 'fd_cnn'?",
        f"error: {tiny}:7: evaluate.metrics.1.split: unknown key; did you mean 'splits'?",
        f"error: {tiny}:8: sampler.gird: unknown key; did you mean 'grid'?",
    )
    assert len(lines) == 8  # timesteps is not also reported as missing
    assert [int(line.split("tiny.yaml:")[1].split(":")[0]) for line in lines] == [5, 5, 6, 6, 6, 7, 7, 8]


def test_what_only_the_checks_of_the_whole_find_comes_at_once_too(tiny: Path) -> None:
    tiny.write_text(
        TINY.replace("steps: 3", "steps: 300")
        + "loss: {weighting: vlb}\nguidance: {weight: 2.0}\nsampler: {name: ddpm, steps: 21}\n"
        "track: [{name: jsonl, path: .}]\nbackend: cuda\n"
    )
    with pytest.raises(SpecError) as error:
        check(load(tiny))
    places = [(finding.mark.line if finding.mark else 0, finding.field) for finding in error.value.findings]
    expected = {
        (7, "evaluate.sampler.steps"),
        (8, "loss.weighting"),
        (9, "guidance"),
        (10, "sampler.steps"),
        (11, "track.0.path"),
    }
    assert set(places) - {(12, "backend")} == expected


def test_invalid_fields_and_what_the_checks_find_come_together(tiny: Path) -> None:
    tiny.write_text(
        TINY.replace("lr: 1e-3", "lr: 0").replace("steps: 3", "steps: 300").replace("grid: 4", "grid: x")
        + "guidance: {weight: 2.0}\n"
    )
    with pytest.raises(SpecError) as error:
        load(tiny, ["name=a/b", "foo=1", "loss.weighting=vlb"])
    fields = {finding.field for finding in error.value.findings}
    assert fields == {
        "train.lr",
        "evaluate.sampler.steps",
        "evaluate.grid",
        "guidance",
        "name",
        "foo",
        "loss.weighting",
    }
    # Without valid timesteps, nothing can be said about the samplers.
    tiny.write_text(TINY.replace("timesteps: 20", "timesteps: x"))
    with pytest.raises(SpecError) as error:
        load(tiny, ["sampler=dpmpp_2m", "train.lr=0"])
    assert {finding.field for finding in error.value.findings} == {"schedule.timesteps", "train.lr"}
    # No check depends on these blocks.
    tiny.write_text(TINY + "sampler: {name: ddim, stepz: 3}\nloss: {weighting: vlbb}\n")
    with pytest.raises(SpecError) as error:
        load(tiny)
    assert {finding.field for finding in error.value.findings} == {"sampler.stepz", "loss.weighting.name"}


def test_what_is_wrong_in_the_text_itself_comes_at_once_and_names_the_field(tiny: Path) -> None:
    tiny.write_text(
        TINY.replace("lr: 1e-3", "lr: .nan, lr: 2").replace("grid: 4", "grid: .inf")
        + 'sampler: !!x ddim\nseed: "\\e"\n'
    )
    with pytest.raises(SpecError) as error:
        load(tiny)
    assert error.value.lines() == [
        f"{tiny}:6: train.lr: .nan is not a finite number",
        f"{tiny}:6: train.lr: the key 'lr' is given twice",
        f"{tiny}:7: evaluate.grid: .inf is not a finite number",
        f"{tiny}:8: sampler: should be a plain value without a tag (tag:yaml.org,2002:x)",
        f"{tiny}:9: seed: should be printable text, but contains the character U+001B",
    ]


def test_a_missing_base_names_the_line_that_asks_for_it(tiny: Path) -> None:
    tiny.write_text(TINY + "extends:\n  - none.yaml\n  - nor.yaml\n")
    with pytest.raises(SpecError) as error:
        load(tiny)
    first, second = error.value.lines()
    assert first.startswith(f"{tiny}:9: extends: ")
    assert "none.yaml cannot be read: No such file" in first
    assert second.startswith(f"{tiny}:10: extends: ")
    tiny.with_name("folder.yaml").mkdir()
    tiny.write_text(TINY + "extends: folder.yaml\n")
    with pytest.raises(SpecError, match=r"tiny\.yaml:8: extends: .*folder\.yaml is a folder"):
        load(tiny)


OVERRIDES = [
    ("model.name=null", "-s model.name=null: model.name: should have a `name:`, a string; valid: "),
    ("time={name: uniform, std: 2}", "-s time={name: uniform, std: 2}: time.std: unknown key; "),
    ("trian.lr=1", "-s trian.lr=1: trian: unknown key; did you mean 'train'?"),
    (
        "model.dim_mults=1,2",
        "-s model.dim_mults=1,2: model.dim_mults: should be a list, not '1,2'; did you mean [1,2]?",
    ),
    (
        "evaluate.metrics=fd_cnn",
        "-s evaluate.metrics=fd_cnn: evaluate.metrics: should be a list, not 'fd_cnn'; did you mean "
        "[fd_cnn]?",
    ),
    (
        "evaluate.metrics.0=fd_cnn",
        "-s evaluate.metrics.0=fd_cnn: evaluate.metrics: should be a list: there is no item 0 to change",
    ),
    (
        "guidance.interval=[1,2,3]",
        "-s guidance.interval=[1,2,3]: guidance.interval: should be a list of at most 2 items, not 3",
    ),
    (
        "model={name: convnext_unet, dim: 8, dimm: 3}",
        "-s model={name: convnext_unet, dim: 8, dimm: 3}: model.dimm: unknown key",
    ),
    ("schedule.s=.nan", "-s schedule.s=.nan: schedule.s: .nan is not a finite number"),
    (
        "evaluate.sampler.steps=21",
        "-s evaluate.sampler.steps=21: evaluate.sampler.steps: should be at most the schedule's 20",
    ),
    (
        "sampler.clip.name=dynmic",
        "-s sampler.clip.name=dynmic: sampler.clip.name: should be 'dynamic', not 'dynmic'",
    ),
]


@pytest.mark.parametrize(("override", "wanted"), OVERRIDES, ids=[override for override, _ in OVERRIDES])
def test_an_overrides_error_names_the_override(ddpmx: Run, tiny: Path, override: str, wanted: str) -> None:
    for command in (
        ("validate", tiny),
        ("show", tiny, "--out", tiny.with_name("x.html")),
        ("run", tiny, "--dry-run"),
    ):
        (line,) = refused(ddpmx(*command, "-s", override))
        assert line.startswith(f"error: {wanted}")
        assert "tuple" not in line
    tiny.write_text(TINY + "sweep: {seed: [0, 1]}\n")
    (line,) = refused(ddpmx("sweep", tiny, "--print", "-s", override))
    assert line.startswith(f"error: {wanted.split(' (')[0]}")
    assert "in the point tiny-seed_0 and 1 more" in line or "is not a finite number" in line


def test_all_overrides_are_looked_at(ddpmx: Run, tiny: Path) -> None:
    refused(
        ddpmx("validate", tiny, "-s", "a", "-s", "seed=.inf", "-s", "x..y=1"),
        "'a' should be KEY=VALUE",
        "seed: .inf",
        "'x..y=1' should",
    )
    refused(
        ddpmx("validate", tiny, "-s", "seed=x", "-s", "train.lr=0"),
        "-s seed=x: seed: ",
        "-s train.lr=0: train.lr: ",
    )


def test_options_that_change_a_runs_spec_are_named(ddpmx: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    refused(
        ddpmx("evaluate", run, "--metrics", "fd_cn,is_cnn,x"),
        "--metrics fd_cn,is_cnn,x: evaluate.metrics.0.name: unknown",
        "metrics.2.name",
    )
    refused(
        ddpmx("evaluate", run, "-s", "evaluate.grid=0.5", "-s", "train.lr=x"),
        "-s evaluate.grid=0.5: ",
        "-s train.lr=x: train.lr",
    )
    refused(
        ddpmx("sample", run, "--sampler", "dimm"),
        "--sampler dimm: sampler.name: unknown sampler 'dimm'; did you mean 'ddim'?",
    )
    refused(
        ddpmx("export", run, tmp_path / "x", "--to", "diffusers", "-s", "model.dim=0"),
        "-s model.dim=0: model.dim: ",
    )
    lines = refused(
        ddpmx("track", run, "--to", "jsonl", "-s", "path=3", "-s", "pth=x", "-s", "name=y"),
        "-s path=3: path: ",
        "-s pth=x: pth: ",
    )
    assert any("-s name=y: name: unknown key" in line for line in lines)


def test_points_report_together(ddpmx: Run, tiny: Path) -> None:
    tiny.write_text(TINY.replace("lr: 1e-3", "lr: -1") + "sweep:\n  seed: [0, 1, x]\n  loss.norm: [l1, l3]\n")
    lines = refused(
        ddpmx("validate", tiny),
        f"{tiny}:6: train.lr: should be greater than 0, not -1, in the point tiny-seed_0-norm_l1 and 5 more",
        f"{tiny}:9: seed: should be a valid integer, not 'x', in the point tiny-seed_x-norm_l1 and 1 more",
        f"{tiny}:10: loss.norm: should be 'l1', 'l2' or 'huber', not 'l3',"
        " in the point tiny-seed_0-norm_l3 and 2 more",
    )
    assert len(lines) == 3


def test_a_sweeps_block_reports_together(ddpmx: Run, tiny: Path) -> None:
    tiny.write_text(
        TINY + "sweep:\n  sed: [0]\n  train.lr: 3\n  points:\n    - {name: a, foo: 1}\n    - {seed: 1}\n"
    )
    lines = refused(
        ddpmx("validate", tiny),
        f"{tiny}:9: sweep.sed: not a field that a sweep can change (did you mean 'seed'?)",
        f"{tiny}:10: sweep.train.lr: should be a list of at least one value",
        f"{tiny}:12: sweep.points.0.foo: not a field",
        f"{tiny}:13: sweep.points.1: should be a block of fields with a `name:`",
    )
    assert len(lines) == 4


def test_what_a_message_repeats_is_bounded(ddpmx: Run, tiny: Path) -> None:
    long = "x" * 100_000
    tiny.write_text(TINY.replace("name: cosine", f"name: {long}") + f"{long}: 1\n")
    overrides = ("-s", f"dataset={long}", "-s", f"{long}=1", "-s", f"train.lr={long}")
    for line in refused(ddpmx("validate", tiny, *overrides)):
        assert len(line) < 2000
    for line in refused(ddpmx("validate", tiny, "-s", long)):
        assert len(line) < 500


def test_many_findings_are_counted() -> None:
    findings = Findings()
    findings.report()  # raises nothing, as nothing was collected
    for index in range(MOST_FINDINGS + 5):
        for _ in range(2):  # a duplicate counts once
            with findings.collect():
                raise SpecError(f"number {index}", field="a.b", mark=Mark("f.yaml", index + 1), hint="help")
    with pytest.raises(SpecError) as error:
        findings.report()
    lines = error.value.lines()
    assert lines[0] == "f.yaml:1: a.b: number 0 (help)"
    assert lines[MOST_FINDINGS:] == ["and 5 more"]
    assert len(error.value.findings) == MOST_FINDINGS + 5
    assert str(error.value) == "\n".join(lines)
    moved = error.value.at("c", Mark("g"))
    assert {finding.field for finding in moved.findings} == {"c.a.b"}
    assert {finding.mark.file for finding in moved.findings if finding.mark} == {"f.yaml"}
