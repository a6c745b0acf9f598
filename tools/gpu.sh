#!/usr/bin/env bash
# What only a GPU can show, within 9 minutes and without a network: build, the hot math's tests on the device,
# compute-sanitizer, benchmarks. Uses the machine's own python3, with torch. What that lacks is taken from wheels/, if it is there:
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

# tests/conftest.py is for runs, and needs packages that a GPU machine may lack
timeout 150 "$python" -m pytest -q --noconftest -p no:cacheprovider tests/ops/test_ops.py tests/ops/test_noise.py tests/ops/test_backends.py | tee "$out/tests.txt"

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer | tail -1)
for tool in memcheck racecheck; do
  timeout 70 "$sanitizer" --tool $tool --error-exitcode 9 \
    "$python" -m pytest -q --noconftest -p no:cacheprovider tests/ops/test_backends.py -k 'bit_for_bit and cuda and float32' | tee "$out/$tool.txt"
done

timeout 200 "$python" -m pytest benchmarks/test_ops_speed.py -q --benchmark-quiet --benchmark-json="$out/bench.json" | tee "$out/bench.txt"
"$python" benchmarks/summary.py "$out/bench.json" | tee "$out/summary.md"
