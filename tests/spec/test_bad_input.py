"""Bad input is rejected with exit code 2 and one message, without a traceback or a run folder.

The message names the file, the line, the field and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Result
from refusals import refused_without_run as refused

Run = Callable[..., Result]

# The case's name, (old, new) text in TINY, and what the message must contain.
EDITED = [
    (
        "unknown component",
        ("name: cosine", "name: cosin"),
        ["tiny.yaml:5", "schedule", "cosin", "did you mean 'cosine'"],
    ),
    (
        "unknown dataset",
        ("dataset: digits", "dataset: digit"),
        ["tiny.yaml:3", "dataset", "did you mean 'digits'"],
    ),
    (
        "unknown key",
        ("timesteps: 20", "timestep: 20"),
        ["tiny.yaml:5", "schedule.timestep", "did you mean 'timesteps'"],
    ),
    ("misspelt block", ("evaluate:", "evalute:"), ["tiny.yaml:7", "evalute", "did you mean 'evaluate'"]),
    ("nested unknown key", ("lr: 1e-3", "learning_rate: 1e-3"), ["tiny.yaml:6", "train.learning_rate"]),
    (
        "text for an int",
        ("timesteps: 20", 'timesteps: "500"'),
        ["tiny.yaml:5", "schedule.timesteps", "integer", "'500'"],
    ),
    (
        "true for an int",
        ("timesteps: 20", "timesteps: true"),
        ["tiny.yaml:5", "schedule.timesteps", "integer", "True"],
    ),
    ("float for an int", ("timesteps: 20", "timesteps: 20.5"), ["tiny.yaml:5", "schedule.timesteps", "20.5"]),
    ("true for a float", ("lr: 1e-3", "lr: true"), ["tiny.yaml:6", "train.lr", "number", "True"]),
    ("no is a string", ("steps: 12", "compile: no"), ["tiny.yaml:6", "train.compile", "boolean", "'no'"]),
    ("out of range", ("lr: 1e-3", "lr: -1e-3"), ["tiny.yaml:6", "train.lr", "greater than 0"]),
    (
        "T of 0",
        ("timesteps: 20", "timesteps: 0"),
        ["tiny.yaml:5", "schedule.timesteps", "greater than or equal to 1"],
    ),
    (
        "T of 10^15",
        ("timesteps: 20", "timesteps: 1000000000000000"),
        ["tiny.yaml:5", "schedule.timesteps", "100000"],
    ),
    ("NaN", ("lr: 1e-3", "lr: .nan"), ["tiny.yaml:6", ".nan"]),
    ("infinite lr", ("lr: 1e-3", "lr: .inf"), ["tiny.yaml:6", ".inf"]),
    ("overflowing lr", ("lr: 1e-3", "lr: 1e999"), ["tiny.yaml:6", "1e999"]),
    ("duplicate key", ("name: tiny", "name: tiny\nname: again"), ["tiny.yaml:3", "name", "twice"]),
    (
        "tab indentation",
        ("train: {steps: 12, batch_size: 64, lr: 1e-3}", "train:\n\tsteps: 12"),
        ["tiny.yaml:7", "tab"],
    ),
    ("empty list of widths", ("dim_mults: [1, 2]", "dim_mults: []"), ["tiny.yaml:4", "model.dim_mults"]),
    ("null block", ("train: {steps: 12, batch_size: 64, lr: 1e-3}", "train:"), ["tiny.yaml:6", "train"]),
    ("null required block", ("dataset: digits", "dataset: null"), ["tiny.yaml:3", "dataset"]),
    ("missing block", ("dataset: digits\n", ""), ["tiny.yaml", "dataset", "required"]),
    ("YAML tag", ("dataset: digits", "dataset: !!python/object:os.system {}"), ["tiny.yaml:3", "tag"]),
    ("path in the name", ("name: tiny", "name: ../../etc"), ["tiny.yaml:2", "name", "[A-Za-z0-9_.-]"]),
    ("dots as the name", ("name: tiny", "name: .."), ["tiny.yaml:2", "name"]),
    (
        "depth does not divide",
        ("dim_mults: [1, 2]", "dim_mults: [1, 1, 1, 1, 1]"),
        ["tiny.yaml:4", "model.dim_mults", "8"],
    ),
    (
        "not finite weights",
        ("dataset: digits", "dataset: digits\nloss: {weighting: vlb}"),
        ["tiny.yaml:4", "loss.weighting", "index 0"],
    ),
    ("more steps than T", ("steps: 3", "steps: 300"), ["tiny.yaml:7", "evaluate.sampler.steps", "20"]),
    (
        "NUL in a path",
        ("dataset: digits", 'dataset: {name: image_folder, path: "\\0"}'),
        ["tiny.yaml:3", "U+0000"],
    ),
    ("half a character", ("name: tiny", 'name: tiny\nextends: "\\ud800"'), ["tiny.yaml:3", "U+D800"]),
    ("escape in a key", ("dataset: digits", 'dataset: digits\n"\\e[2J": 1'), ["tiny.yaml:4", "U+001B"]),
    (
        "backend not built",
        ("dataset: digits", "dataset: digits\nbackend: cuda"),
        ["tiny.yaml:4", "backend", "cuda"],
    ),
]


@pytest.mark.parametrize(
    ("edit", "wanted"), [(edit, wanted) for _, edit, wanted in EDITED], ids=[name for name, _, _ in EDITED]
)
def test_a_wrong_spec_is_named(
    ddpmx: Run, tiny: Path, tmp_path: Path, edit: tuple[str, str], wanted: list[str]
) -> None:
    assert edit[0] in TINY
    tiny.write_text(TINY.replace(edit[0], edit[1], 1))
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, wanted)


WHOLE = [
    ("empty", b"", ["tiny.yaml:1", "empty"]),
    ("binary", bytes(range(128, 256)), ["tiny.yaml", "UTF-8"]),
    ("zeros", b"\0\0\0", ["tiny.yaml:1"]),
    ("list", b"- 1\n- 2\n", ["tiny.yaml:1", "mapping"]),
    ("scalar", b"hello\n", ["tiny.yaml:1", "mapping"]),
    (
        "alias bomb",
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(8)
        ),
        ["alias"],
    ),
    ("deep", b"a: " + b"[" * 5000, ["tiny.yaml:1"]),
    ("large", b"# " + b"x" * 2_000_000, ["tiny.yaml", "larger"]),
]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(content, wanted) for _, content, wanted in WHOLE],
    ids=[name for name, _, _ in WHOLE],
)
def test_a_wrong_document_is_named(
    ddpmx: Run, tiny: Path, tmp_path: Path, content: bytes, wanted: list[str]
) -> None:
    tiny.write_bytes(content)
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, wanted)


OVERRIDES = [
    ("schedule.timestep=3", ["-s schedule.timestep=3", "schedule.timestep", "did you mean 'timesteps'"]),
    ("trian.lr=3", ["trian", "did you mean 'train'"]),
    ("train.lr", ["'train.lr'", "KEY=VALUE"]),
    ("=3", ["KEY=VALUE"]),
    ("train.lr=", ["KEY=VALUE"]),
    ("train.lr=fast", ["-s train.lr=fast", "train.lr", "'fast'"]),
    ("train.lr=[1", ["-s train.lr=[1"]),
    ("name.x=3", ["name"]),
    ("\x1b[2J=3", ["U+001B"]),
    (".".join(["train"] * 2000) + "=1", ["KEY=VALUE"]),
]


@pytest.mark.parametrize(
    ("override", "wanted"), OVERRIDES, ids=[repr(override[:30]) for override, _ in OVERRIDES]
)
def test_a_wrong_override_is_named(
    ddpmx: Run, tiny: Path, tmp_path: Path, override: str, wanted: list[str]
) -> None:
    refused(ddpmx("run", tiny, "-s", override, "--out", tmp_path / "runs"), tmp_path, wanted)


def test_missing_file(ddpmx: Run, tmp_path: Path) -> None:
    refused(
        ddpmx("run", tmp_path / "none.yaml", "--out", tmp_path / "runs"),
        tmp_path,
        ["none.yaml", "No such file"],
    )


def test_extends_loop(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text("extends: other.yaml\n" + TINY)
    (tmp_path / "other.yaml").write_text("extends: tiny.yaml\n")
    refused(
        ddpmx("run", tiny, "--out", tmp_path / "runs"),
        tmp_path,
        ["tiny.yaml", "extends itself", "other.yaml"],
    )


def test_extends_a_missing_file(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY + "extends: none.yaml\n")
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, ["none.yaml", "No such file"])


PLUGINS = [
    ("raises", "x = 1\nraise RuntimeError('no luck')\n", ["bad.py:2", "RuntimeError: no luck"]),
    ("syntax", "x = 1\ndef f(:\n", ["bad.py:2", "SyntaxError"]),
    ("exits", "import sys\nsys.exit(3)\n", ["bad.py:2", "SystemExit"]),
    (
        "takes a name",
        "import ddpmx\n\n@ddpmx.SCHEDULES.register('linear')\nclass Mine(ddpmx.Schedule):\n    '''Mine.'''\n",
        ["bad.py:3", "'linear' is registered already"],
    ),
    (
        "wrong base",
        "import ddpmx\n\n@ddpmx.SCHEDULES.register('mine')\nclass Mine(ddpmx.Weighting):\n    '''Mine.'''\n",
        ["bad.py:3", "ddpmx.Schedule"],
    ),
]


@pytest.mark.parametrize(
    ("code", "wanted"), [(code, wanted) for _, code, wanted in PLUGINS], ids=[name for name, _, _ in PLUGINS]
)
def test_a_wrong_plugin_is_named(
    ddpmx: Run, tiny: Path, tmp_path: Path, code: str, wanted: list[str]
) -> None:
    (tmp_path / "bad.py").write_text(code)
    tiny.write_text(TINY + "plugins: [bad.py]\n")
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, wanted)


def test_a_missing_plugin_is_named(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY + "plugins: [none.py]\n")
    refused(ddpmx("run", tiny, "--out", tmp_path / "runs"), tmp_path, ["tiny.yaml:8", "plugins.0", "none.py"])


def test_weights_to_start_from_that_are_not_there(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY.replace("lr: 1e-3", "init_from: nowhere"))
    refused(
        ddpmx("run", tiny, "--out", tmp_path / "runs"),
        tmp_path,
        ["tiny.yaml:6", "train.init_from", "nowhere"],
    )


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("sample", "nowhere"), ["nowhere", "not a run"]),
        (("evaluate", "nowhere"), ["nowhere", "not a run"]),
        (("list", "schedul"), ["schedul", "did you mean 'schedule'"]),
        (("list", "schedule", "cosin"), ["cosin", "did you mean 'cosine'"]),
        (("validate", "nowhere.yaml"), ["nowhere.yaml"]),
        (("run",), ["SPEC"]),
        (("rnu",), ["rnu"]),
        (("sample", "x", "-n", "0"), ["-n"]),
    ],
)
def test_wrong_arguments(
    ddpmx: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], wanted: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a folder without runs
    refused(ddpmx(*arguments), tmp_path, wanted)


def test_an_unusable_device(ddpmx: Run, tiny: Path, tmp_path: Path) -> None:
    refused(
        ddpmx("run", tiny, "--device", "tpu9", "--out", tmp_path / "runs"), tmp_path, ["tpu9", "--device"]
    )
