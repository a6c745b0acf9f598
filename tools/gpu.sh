#!/usr/bin/env bash
# The checks that need a GPU, in at most 9 minutes and without a network: build, tests of the ops on the device,
# compute-sanitizer, benchmarks. They use the machine's own python3, which must have torch. Other packages that it
# lacks are installed from wheels/, if that folder exists:
#   pip download -d wheels --no-deps pytest iniconfig pluggy pytest-benchmark py-cpuinfo2 scipy ninja 'setuptools>=77'
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-runs/gpu}
mkdir -p "$out"
[ ! -d wheels ] || "$python" -m pip install -q --no-index --no-deps wheels/*.whl
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/card.txt"

"$python" setup.py -q build_ext --inplace
"$python" -c "
from ddpmx import ops
from ddpmx.ops import choice
assert ops.backends()['cuda'], choice.MISSING
assert ops.active('cuda') == 'cuda'"

# --noconftest: tests/conftest.py imports packages that a GPU machine may lack
timeout 150 "$python" -m pytest -q --noconftest -p no:cacheprovider tests/ops/test_ops.py tests/ops/test_noise.py tests/ops/test_backends.py | tee "$out/tests.txt"

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer | tail -1)
for tool in memcheck racecheck; do
  timeout 70 "$sanitizer" --tool $tool --error-exitcode 9 \
    "$python" -m pytest -q --noconftest -p no:cacheprovider tests/ops/test_backends.py -k 'bit_for_bit and cuda and float32' | tee "$out/$tool.txt"
done

timeout 200 "$python" -m pytest benchmarks/test_ops_speed.py -q --benchmark-quiet --benchmark-json="$out/bench.json" | tee "$out/bench.txt"
"$python" benchmarks/summary.py "$out/bench.json" | tee "$out/summary.md"
