"""The build: which extensions are compiled where, and a package that works without any of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ddpmx import ops
from ddpmx.errors import SpecError
from ddpmx.ops import choice, library
from ddpmx.runs import doctor
from ddpmx.spec import loading as spec_file
from ddpmx.training import experiment

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
TORCH = Path(torch.__file__).parent
EXACT = ["-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]


def toolkit() -> Path | None:
    """The folder of a CUDA toolkit with the compiler and the headers; None if there is none."""
    places = [os.environ.get("CUDA_HOME", ""), f"/usr/local/cuda-{torch.version.cuda}", "/usr/local/cuda"]
    return next(
        (
            Path(p)
            for p in places
            if p and Path(p, "include/cuda_runtime.h").exists() and Path(p, "bin/nvcc").exists()
        ),
        None,
    )


CUDA = toolkit()
needs_cuda = pytest.mark.skipif(CUDA is None, reason="no CUDA toolkit")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=cwd,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@needs_cuda
@pytest.mark.parametrize("architecture", ["80", "90", "100"])
def test_the_cuda_kernels_compile_without_warnings_and_spills(architecture: str, tmp_path: Path) -> None:
    assert CUDA is not None
    nvcc = [
        CUDA / "bin/nvcc",
        "-c",
        "-O3",
        "-std=c++17",
        "-fmad=false",
        "--Werror",
        "all-warnings",
        "-Xptxas",
        "-v",
    ]
    host = ["-Xcompiler", "-fPIC,-ffp-contract=off,-Wall,-Wextra"]
    target = [f"-gencode=arch=compute_{architecture},code=sm_{architecture}"]
    said = run(*nvcc, *host, *target, CSRC / "cuda.cu", "-o", tmp_path / "cuda.o")
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert len(spills) >= 10
    assert set(spills) == {("0", "0")}


@needs_cuda
def test_the_cuda_binding_compiles_on_the_stable_abi(tmp_path: Path) -> None:
    assert CUDA is not None
    defines = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-DUSE_CUDA", '-DDDPMX_ARCHS="9.0"']
    headers = ["-isystem", TORCH / "include", "-isystem", CUDA / "include"]
    run(
        "g++",
        "-c",
        "-O0",
        "-std=c++20",
        "-fPIC",
        *defines,
        *headers,
        CSRC / "bind_cuda.cpp",
        "-o",
        tmp_path / "binding.o",
    )


COMPILERS = {
    "clang": ([shutil.which("clang++")], []),
    "aarch64": ([shutil.which("aarch64-linux-gnu-g++"), "-static"], [shutil.which("qemu-aarch64")]),
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_other_compilers_and_processors_make_the_same_bits(compiler: str, tmp_path: Path) -> None:
    compile_, emulate = COMPILERS[compiler]
    if None in (*compile_, *emulate):
        pytest.skip(f"no {compiler}")
    program = tmp_path / "portable"
    run(
        *compile_,
        "-std=c++17",
        *EXACT,
        "-Wall",
        "-Wextra",
        f"-I{CSRC}",
        ROOT / "tests/kernels/portable.cpp",
        CSRC / "cpu.cpp",
        "-o",
        program,
    )
    noise_sum, x_t_sum, level = run(*emulate, program).split()
    assert level == "scalar"
    ids = torch.tensor([(i << 40) + 12345 * i for i in range(7)])
    x = ((torch.arange(7 * 3001) % 1000) / 512 - 1).view(7, 3001)
    with ops.use_backend("reference"):
        noise = ops.normal(ids, 0xDEADBEEF, 0xFEDCBA9876543210, (3001,))
        key = {"sample_ids": ids, "stream": 0xDEADBEEF, "seed": 0xFEDCBA9876543210}
        x_t = ops.add_noise(x, torch.full((7,), 0.75), torch.full((7,), 0.3), **key)
    weights = torch.arange(7 * 3001) % 9973 + 1
    for values, printed in ((noise, noise_sum), (x_t, x_t_sum)):
        assert int((values.view(torch.int32).flatten().long() * weights).sum()) == int(printed)


@pytest.mark.skipif(not ops.backends()["cpp"] or shutil.which("nm") is None, reason="no library, or no nm")
def test_the_library_needs_no_symbol_of_torchs_cpp() -> None:
    (file,) = library.FOLDER.glob("_cpp.*")
    undefined = run("nm", "-DC", "--undefined-only", file)
    assert "aoti_torch" in undefined
    assert not re.search(r" (at|c10|torch)::", undefined)


@pytest.mark.skipif(not ops.backends()["cpp"], reason="no library")
def test_the_operators_are_those_of_the_table() -> None:
    table = re.findall(r'^  X\((\w+),[^"]*"\(Tensor', (CSRC / "operators.h").read_text(), re.MULTILINE)
    assert len(table) >= 11
    assert sorted(library.OPERATORS) == sorted(table)


@pytest.fixture
def sources_only(tmp_path: Path) -> Path:
    """The package without its libraries, as if nothing had been built."""
    shutil.copytree(
        ROOT / "ddpmx",
        tmp_path / "ddpmx",
        ignore=shutil.ignore_patterns("*.so", "_build.json", "__pycache__"),
    )
    return tmp_path


@pytest.mark.slow
def test_without_libraries_the_reference_runs_everything(sources_only: Path) -> None:
    """With the backend `reference` alone: the tests of the hot math, the sampling loop and a training run."""

    def python(*arguments: str | Path) -> str:
        return run(
            sys.executable, *arguments, cwd=sources_only, PYTHONPATH=str(sources_only), OMP_NUM_THREADS="1"
        )

    seen = python("-c", "import ddpmx.ops as o; print(o.__file__, o.backends(), o.active('cpu'))")
    assert str(sources_only) in seen
    assert "{'reference': True, 'cpp': False, 'cuda': False} reference" in seen
    tests = [ROOT / "tests" / name for name in ("ops/test_backends.py", "sampling/test_sampling.py")]
    picked = [
        ROOT / "tests/ops/test_ops.py",
        "-k",
        "formula or layout or named or test_backends or test_sampling",
    ]
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests, *picked)
    assert int(re.search(r"(\d+) passed", said)[1]) > 300  # type: ignore[index]
    assert "cpp: not available: never built" in python("-m", "ddpmx", "doctor")


@pytest.fixture
def doctored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """What `doctor` reports on each backend if the folder of the libraries has the given files and build
    record."""
    before = (dict(choice.MISSING), dict(choice._BUILT))

    def backends(record: object = None, *files: str) -> dict[str, str]:
        for file in files:
            (tmp_path / file).write_text("no library")
        if record is not None:
            (tmp_path / "_build.json").write_text(record if isinstance(record, str) else json.dumps(record))
        monkeypatch.setattr(library, "FOLDER", tmp_path)
        choice.MISSING.clear()
        for name in choice.DEVICES:
            choice._BUILT.pop(name, None)
        choice._load()
        return {fact.item: fact.text for fact in doctor.report() if fact.topic == "backend"}

    choice._chosen.clear()
    yield backends
    for table, content in zip((choice.MISSING, choice._BUILT), before, strict=True):
        table.clear()
        table.update(content)
    choice._chosen.clear()


def test_doctor_gives_each_backends_own_reason(doctored: Callable[..., dict[str, str]]) -> None:
    said = doctored({"cpp": "no C++ compiler found: c++", "cuda": "no CUDA toolkit found"})
    assert said == {
        "reference": "available; live on cpu",
        "cpp": "not available: no C++ compiler found: c++",
        "cuda": "not available: no CUDA toolkit found",
    }


def test_doctor_tells_a_library_that_does_not_load_from_one_that_needs_it(
    doctored: Callable[..., dict[str, str]],
) -> None:
    said = doctored({}, "_cpp.abi3.so", "_cuda.abi3.so")
    assert said["cpp"].startswith("not available: built, but it does not load: ")
    assert said["cuda"] == "not available: built, but it needs cpp"


@pytest.mark.parametrize("record", ["", "[]", '{"cpp": "no reason'])
def test_a_damaged_record_of_the_build_stops_nothing(
    doctored: Callable[..., dict[str, str]], record: str
) -> None:
    said = doctored(record)
    assert "install ddpmx again" in said["cpp"]
    assert "install ddpmx again" in said["cuda"]


@pytest.mark.skipif(not ops.backends()["cpp"], reason="no C++ backend")
def test_doctor_says_what_is_live_and_why_the_rest_is_not() -> None:
    said = {fact.item: fact.text for fact in doctor.report() if fact.topic == "backend"}
    assert said["cpp"].endswith("; live on cpu")
    if not torch.cuda.is_available():
        assert said["reference"] == "available; not live: cpp is faster on cpu"
        assert said["cuda"].startswith("not available: ")


def wheel(folder: Path, **environment: str) -> tuple[Path, dict[str, str], list[str]]:
    """A wheel built here: its file, its record of its libraries, and their names."""
    source = folder / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".*", "runs", "build", "*.so", "_build.json", "__pycache__", "*.egg-info"
        ),
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        folder,
        source,
    ]
    run(*command, PYTHONPATH="", **environment)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        return (
            file,
            json.loads(archive.read("ddpmx/ops/_build.json")),
            [name for name in names if name.endswith(".so")],
        )


def test_a_build_may_be_forbidden(tmp_path: Path) -> None:
    file, state, libraries = wheel(tmp_path, DDPMX_BUILD="none")
    assert file.name.endswith("-py3-none-any.whl")
    assert libraries == []
    assert state["cpp"] == "DDPMX_BUILD=none said not to build it"


def test_a_build_that_fails_leaves_a_working_package(tmp_path: Path) -> None:
    """A compiler that exists, but fails."""
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    _, state, libraries = wheel(tmp_path, CXX=str(broken), DDPMX_BUILD="cpp")
    assert libraries == []
    assert state["cpp"].startswith("its build failed")
    assert state["cuda"] == "DDPMX_BUILD=cpp said not to build it"


def test_without_a_compiler_the_reason_is_written_down(tmp_path: Path) -> None:
    _, state, libraries = wheel(tmp_path, CXX="no-such-compiler", DDPMX_BUILD="cpp")
    assert libraries == []
    assert state["cpp"] == "no C++ compiler found: no-such-compiler"


# Isolated like pip's builds: without the environment's folders on the path, and without the user's site.
ISOLATED = """
import site, sys
before, hidden = sys.path[:], set()
for folder in site.getsitepackages():
    site.addsitedir(folder, known_paths=hidden)
sys.path = [path for path in before if path not in sys.path[len(before):]]
"""
# A stand-in for setuptools, with the names that setup.py needs.
STAND_IN = {
    "setuptools/__init__.py": "Extension = object\ndef setup(**options): pass\n",
    "setuptools/command/__init__.py": "",
    "setuptools/command/build_py.py": "build_py = object\n",
}
FIND = """
import runpy, sys
setup = runpy.run_path(sys.argv[1])
try:
    setup["import_torch"]()
except setup["Missing"] as missing:
    print(missing)
else:
    import torch
    print(torch.__file__)
"""


@pytest.mark.parametrize(
    "where", ["the environment", "a .pth file", "the user's site", "the system's", "nowhere"]
)
def test_the_build_finds_torch_wherever_the_environment_sees_it(where: str, tmp_path: Path) -> None:
    """Run setup.py in an environment with a stand-in for torch, isolated like pip's builds."""
    python = tmp_path / "environment" / "bin" / "python"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    wide = ["--system-site-packages"] if where in ("the user's site", "the system's") else []
    run(sys.executable, "-m", "venv", "--without-pip", *wide, tmp_path / "environment", PYTHONPATH="")
    inside, user = (
        tmp_path / "environment/lib" / version / "site-packages",
        tmp_path / "user/lib" / version / "site-packages",
    )
    folder = {"the environment": inside, "a .pth file": tmp_path / "elsewhere", "the user's site": user}.get(
        where, tmp_path / "unused"
    )
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("")
    if where == "a .pth file":
        (inside / "more.pth").write_text(f"{folder}\n")
    overlay = tmp_path / "overlay"
    for name, text in {**STAND_IN, "sitecustomize.py": ISOLATED}.items():
        (overlay / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay / name).write_text(text)
    isolation = {
        "PYTHONPATH": str(overlay),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUSERBASE": str(tmp_path / "user"),
    }
    if where == "the system's":  # its folders cannot be written to, so they are only inspected
        bare = run(python, "-c", "import sys; print(*sys.path, sep='\\n')", **isolation).split()
        code = "import runpy, sys; print(*runpy.run_path(sys.argv[1])['places'](), sep='\\n')"
        found = run(python, "-c", code, ROOT / "setup.py", **isolation).split()
        base = run(
            python, "-c", "import site; print(*site.getsitepackages(), sep='\\n')", **isolation
        ).split()[-1]
        assert Path(base).is_relative_to(sys.base_prefix)
        assert base not in bare
        assert base in found
        return
    said = run(python, "-c", FIND, ROOT / "setup.py", **isolation).strip()
    if where == "nowhere":
        assert str(python) in said
        assert "--no-build-isolation" in said
    else:
        assert said == str(folder / "torch" / "__init__.py")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_wheel_runs_on_a_machine_without_a_compiler(tmp_path: Path) -> None:
    file, state, libraries = wheel(tmp_path, DDPMX_BUILD="cpp")
    assert re.fullmatch(r"ddpmx-[\d.]+-cp311-abi3-\w+\.whl", file.name)
    assert state["cpp"] == "built"
    assert libraries == ["ddpmx/ops/_cpp.abi3.so"]
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", file)
    code = "import ddpmx.ops as o; print(o.__file__, o.active('cpu'))"
    seen = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"), PATH="")
    assert seen.split() == [str(tmp_path / "site/ddpmx/ops/__init__.py"), "cpp"]


@pytest.mark.skipif(not ops.backends()["cpp"], reason="no C++ backend")
@pytest.mark.slow
def test_the_environment_chooses_the_cpu_level() -> None:
    for level in library.cpu_levels():
        assert f"CPU level {level}" in run(sys.executable, "-m", "ddpmx", "doctor", DDPMX_CPU_LEVEL=level)
    wrong = subprocess.run(
        [sys.executable, "-m", "ddpmx", "doctor"],
        env={**os.environ, "DDPMX_CPU_LEVEL": "avx9"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert wrong.returncode == 2
    assert re.fullmatch(
        r"error: DDPMX_CPU_LEVEL should be a level that this machine runs: scalar, .*; not 'avx9'\n",
        wrong.stderr,
    )


@pytest.mark.skipif(not ops.backends()["cpp"], reason="no C++ backend")
def test_a_spec_whose_backend_does_not_fit_the_device_is_refused(tiny: Path) -> None:
    spec = spec_file.load(tiny, ["backend=cpp"])
    with pytest.raises(SpecError, match="the backend 'cpp' runs on cpu, not on meta") as error:
        experiment.build(spec, torch.device("meta"))
    assert error.value.field == "backend"
