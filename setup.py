"""Build the kernels of csrc/ into the package.

The C++ kernels need a compiler; the CUDA kernels also need a toolkit and a torch with CUDA. They are built
against the installed torch, and work with every torch from 2.10 on. Kernels that cannot be built are skipped:
ddpmx/ops/_build.json says why, and `ddpmx doctor` prints it. DDPMX_BUILD=none builds nothing, and
DDPMX_BUILD=cpp skips CUDA.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
OPS = Path("ddpmx", "ops")
BUILDS = {"bdist_wheel", "build", "build_ext", "editable_wheel", "install"}
ARCHITECTURES = {"80": "8.0", "90": "9.0", "100": "10.0"}  # nvcc's names and torch's
EXACT = [
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
]  # vectorised, and rounded as written
SANITIZE = os.environ.get("DDPMX_SANITIZE", "").split()  # tools/sanitize.sh
CXX = [
    *EXACT,
    "-g0",
    "-fvisibility=hidden",
    *SANITIZE,
    "-Wno-psabi",
    "-Wno-uninitialized",
]  # what immintrin.h of g++ 12 sets off
NVCC = ["-O3", "-fmad=false", "-Xcompiler", "-ffp-contract=off"]
STABLE = ("TORCH_TARGET_VERSION", "0x020a000000000000")


class Missing(Exception):
    """Why a library is not built."""


LOOK = """
import importlib.util, json, pathlib, sys
found = importlib.util.find_spec("torch")
homes = [str(pathlib.Path(place).parent) for place in found.submodule_search_locations or ()] if found else []
print("\\n" + json.dumps([*homes, *filter(None, sys.path)]))
"""  # the first line is for what a .pth file prints


def places() -> list[str]:
    """Folders that this interpreter imports from where nothing isolates it, torch's own first.

    Those of its environment, and what a user site, `--system-site-packages` and .pth files add.
    """
    isolating = ("PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONHOME", "PYTHONSAFEPATH")
    environment = {name: value for name, value in os.environ.items() if name not in isolating}
    found = [sysconfig.get_paths()[key] for key in ("purelib", "platlib")]
    try:
        answer = subprocess.run(
            [sys.executable, "-c", LOOK],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            cwd="/",
        )
        found = [*json.loads(answer.stdout.splitlines()[-1]), *found]
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        print(f"ddpmx: where {sys.executable} imports from is not known ({error})", file=sys.stderr)
    return [path for path in dict.fromkeys(found) if path not in sys.path]


def import_torch() -> None:
    """Make torch importable: pip builds in an isolated environment, without the installed torch."""
    try:
        import torch
    except ImportError:
        sys.path += places()
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise Missing(
            f"torch could not be imported by {sys.executable} when ddpmx was installed ({error}):"
            " install torch there, then ddpmx again by"
            " `pip install --no-build-isolation --force-reinstall --no-deps .`,"
            " which needs setuptools and ninja"
        ) from error


def cuda_home(version: str) -> Path:
    """The toolkit for torch's CUDA version: a folder with the compiler and the headers."""
    nvcc = shutil.which("nvcc")
    places = [
        os.environ.get("CUDA_HOME"),
        os.environ.get("CUDA_PATH"),
        f"/usr/local/cuda-{version}",
        "/usr/local/cuda",
        "/opt/cuda",
    ]
    places += [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    homes = [Path(place) for place in places if place]
    homes = [
        home for home in homes if (home / "include/cuda_runtime.h").exists() and (home / "bin/nvcc").exists()
    ]
    if not homes:
        raise Missing(
            "no CUDA toolkit found (a folder with bin/nvcc and include/cuda_runtime.h): set CUDA_HOME"
        )
    return homes[0]


def cpp(wanted: str) -> Extension:
    if wanted == "none":
        raise Missing("DDPMX_BUILD=none said not to build it")
    compilers = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    found = next(filter(shutil.which, compilers), None)
    if found is None:
        raise Missing(f"no C++ compiler found: {', '.join(compilers)}")
    os.environ.setdefault("CXX", found)
    import_torch()
    from torch.utils.cpp_extension import CppExtension

    return CppExtension(
        "ddpmx.ops._cpp",
        ["csrc/bind_cpu.cpp", "csrc/bind_layers.cpp", "csrc/bind_attention.cpp", "csrc/cpu.cpp"],
        depends=headers(),
        define_macros=[STABLE, ("DDPMX_FLAGS", json.dumps(" ".join(CXX)))],
        extra_compile_args={"cxx": CXX},
        extra_link_args=SANITIZE,
        py_limited_api=True,
    )


def cuda(wanted: str) -> Extension:
    if wanted != "auto":
        raise Missing(f"DDPMX_BUILD={wanted} said not to build it")
    import_torch()
    import torch

    if torch.version.cuda is None:
        raise Missing("the torch that is installed has no CUDA")
    home = cuda_home(torch.version.cuda)
    known = subprocess.run(
        [home / "bin/nvcc", "--list-gpu-arch"], capture_output=True, text=True, check=True
    ).stdout.split()
    listed = ";".join(name for arch, name in ARCHITECTURES.items() if f"compute_{arch}" in known)
    os.environ.setdefault(
        "TORCH_CUDA_ARCH_LIST", listed + "+PTX"
    )  # PTX: newer GPUs compile it when they load it
    os.environ["CUDA_HOME"] = str(
        home
    )  # before cpp_extension is imported: its own guess may be a folder without headers
    from torch.utils import cpp_extension

    return cpp_extension.CUDAExtension(
        "ddpmx.ops._cuda",
        ["csrc/bind_cuda.cpp", "csrc/cuda.cu"],
        depends=headers(),
        define_macros=[
            STABLE,
            ("USE_CUDA", None),
            ("DDPMX_ARCHS", json.dumps(os.environ["TORCH_CUDA_ARCH_LIST"])),
        ],
        extra_compile_args={"cxx": CXX, "nvcc": NVCC},
        py_limited_api=True,
    )


def headers() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("*.h"))


def record(folder: Path, state: dict[str, str]) -> None:
    """What became of each library, for ddpmx/ops/library.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_build.json").write_text(json.dumps(state, indent=1) + "\n")


state: dict[str, str] = {}
extensions: list[Extension] = []
commands: dict[str, type] = {}

if BUILDS & set(sys.argv):
    wanted = os.environ.get("DDPMX_BUILD", "auto")
    if wanted not in ("auto", "cpp", "none"):
        sys.exit(f"DDPMX_BUILD should be auto, cpp or none, not {wanted!r}")
    for name, extension in {
        "cuda": cuda,
        "cpp": cpp,
    }.items():  # cuda sets CUDA_HOME before torch.utils.cpp_extension reads it
        try:
            extensions.append(extension(wanted))
            state[name] = "the build was broken off"
        except Missing as reason:
            state[name] = str(reason)

    class Record(build_py):
        """Writes down what is left out, also where nothing is built."""

        def run(self) -> None:
            super().run()
            record(OPS if self.editable_mode else Path(self.build_lib) / OPS, state)

    commands["build_py"] = Record

if extensions:
    from torch.utils.cpp_extension import BuildExtension

    class Build(BuildExtension):
        """Goes on without a library whose build fails."""

        def run(self) -> None:
            super().run()
            record(OPS if self.inplace or self.editable_mode else Path(self.build_lib) / OPS, state)

        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except (Exception, SystemExit) as error:
                self.failed(self.extensions, error)

        def build_extension(self, ext: Extension) -> None:
            try:
                super().build_extension(ext)
                state[ext.name.rpartition("_")[2]] = "built"
            except (Exception, SystemExit) as error:
                self.failed([ext], error)

        def failed(self, broken: list[Extension], error: BaseException) -> None:
            print(
                f"ddpmx: going on without {', '.join(ext.name for ext in broken)}: {error}", file=sys.stderr
            )
            for name in (ext.name.rpartition("_")[2] for ext in broken):
                if state[name] != "built":
                    state[name] = f"its build failed ({error}): `pip install -v` shows how"

    for extension in extensions:
        extension.optional = True
    commands["build_ext"] = Build

setup(
    ext_modules=extensions,
    cmdclass=commands,
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if extensions else {},
)
