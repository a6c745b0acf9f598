#!/usr/bin/env bash
# The tests of the CPU kernels, and of the CUDA kernels on the emulated GPU, under AddressSanitizer and
# UndefinedBehaviorSanitizer. Any finding ends the process. Leak detection is off, because Python and torch keep memory
# until they exit.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r csrc ddpmx setup.py pyproject.toml README.md LICENSE tests "$work"
cd "$work"
rm -f ddpmx/ops/_c*.so ddpmx/ops/_build.json
export CXX=${CXX:-g++} DDPMX_BUILD=cpp DDPMX_SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
"$python" setup.py -q build_ext --inplace
preload=$("$CXX" -print-file-name=libasan.so):$("$CXX" -print-file-name=libubsan.so):$("$CXX" -print-file-name=libstdc++.so)
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONPATH=$work:$work/tests OMP_NUM_THREADS=1 PYTHONMALLOC=malloc
unset DDPMX_BUILD
LD_PRELOAD=$preload "$python" -c "
from ddpmx import ops
from ddpmx.ops import choice, library
assert ops.backends()['cpp'], choice.MISSING
assert '-fsanitize=address,undefined' in library.build('cpp'), library.build('cpp')"
LD_PRELOAD=$preload "$python" -m pytest -q --noconftest -p no:cacheprovider -c pyproject.toml tests/ops/test_backends.py -k 'not compile' "$@"
LD_PRELOAD=$preload "$python" -m pytest -q --noconftest -p no:cacheprovider -c pyproject.toml tests/ops/test_kernels.py "$@"
layers=(tests/ops/layers/test_{convolution,depthwise,group_norm,linear_attention,normalisation}.py tests/ops/test_pixels.py)
LD_PRELOAD=$preload "$python" -m pytest -q --noconftest -p no:cacheprovider -p cpu_levels -c pyproject.toml -k 'not constants' "${layers[@]}" "$@"
