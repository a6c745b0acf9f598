# Every target creates .venv if it is missing and updates it when the pins or the build have changed.
# ARGS is passed on to ddpmx or pytest: make run ARGS='-s train.steps=100', make test ARGS='-k schedules'

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$python; break; }; done)
IN_VENV := .venv/bin/python
INSTALLED := .venv/.installed
ARGS ?=

ifndef DDPMX_DATA
ifneq ($(wildcard ../shared/data),)
export DDPMX_DATA := $(abspath ../shared/data)
endif
endif

SCALE ?= digits
.PHONY: run test test-slow bench gpu sanitize check train_mnist train_fashion_mnist train_cifar10 study claims pins clean help

run: $(INSTALLED)  ## train, sample, measure and report experiments/quickstart.yaml (8×8 digits, about a minute)
	@$(IN_VENV) -m ddpmx run experiments/quickstart.yaml $(ARGS)

test: $(INSTALLED)  ## run the fast tests
	@OMP_NUM_THREADS=1 $(IN_VENV) -m pytest -n 2 -m 'not slow' -rs $(ARGS)

test-slow: $(INSTALLED)  ## run the tests that take minutes
	@$(IN_VENV) -m pytest -m slow $(ARGS)

bench: $(INSTALLED)  ## compare the kernels with eager torch, torch.compile and a plain copy; writes runs/bench.json (some minutes)
	@mkdir -p runs
	@$(IN_VENV) -m pytest benchmarks -q --benchmark-quiet --benchmark-json=runs/bench.json $(ARGS)
	@$(IN_VENV) benchmarks/summary.py runs/bench.json

gpu:  ## on a machine with a GPU, using its own python3: build, test, compute-sanitizer, benchmarks
	@bash tools/gpu.sh

sanitize: $(INSTALLED)  ## run the CPU kernels' tests under AddressSanitizer and UBSan (some minutes)
	@PYTHON=$(abspath $(IN_VENV)) bash tools/sanitize.sh $(ARGS)

check: $(INSTALLED)  ## check lint, format, types, and that imports point downwards
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .
	@$(dir $(IN_VENV))clang-format --dry-run -Werror csrc/* tests/kernels/*
	@$(IN_VENV) -m mypy --strict
	@$(IN_VENV) -m pytest -q tests/test_layering.py

train_mnist: $(INSTALLED)  ## run experiments/mnist.yaml
	@$(IN_VENV) -m ddpmx run experiments/mnist.yaml $(ARGS)

train_fashion_mnist: $(INSTALLED)  ## run experiments/fashion_mnist.yaml
	@$(IN_VENV) -m ddpmx run experiments/fashion_mnist.yaml $(ARGS)

train_cifar10: $(INSTALLED)  ## run experiments/cifar10.yaml
	@$(IN_VENV) -m ddpmx run experiments/cifar10.yaml $(ARGS)

study: $(INSTALLED)  ## redo the study at SCALE=digits (hours on two cores), publish it in results/study/; resumes
	@$(IN_VENV) experiments/study/study.py $(SCALE) $(ARGS)

claims: $(INSTALLED)  ## test the claims of papers in experiments/claims/ (hours on two cores), publish in results/claims/; resumes
	@$(IN_VENV) experiments/study/papers.py $(ARGS)

pins: $(INSTALLED)  ## rewrite constraints.txt with the newest versions that pyproject.toml allows
	@echo 'Upgrading .venv …'
	@$(IN_VENV) -m pip install -q --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[dev]'
	@$(IN_VENV) tools/pins.py > constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove .venv and all caches, but not runs/
	rm -rf .venv build ddpmx/ops/*.so ddpmx/ops/_build.json ddpmx.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## show this list
	@grep -E '^[a-z_0-9-]+:.*  ## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*  ## /\t/' | expand -t 22

$(INSTALLED): constraints.txt pyproject.toml $(wildcard setup.py csrc csrc/*)
	@test -n '$(PYTHON)' || { echo 'ddpmx needs Python 3.11 or newer, and none was found; name one with PYTHON=/path/to/python3' >&2; exit 1; }
	@$(IN_VENV) -m pip --version >/dev/null 2>&1 || { echo 'Creating .venv with $(PYTHON) …'; $(PYTHON) -m venv --clear .venv; }
	@echo 'Installing ddpmx and the versions in constraints.txt into .venv; the first time, this takes minutes (torch is several GB on Linux) …'
	@$(IN_VENV) -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(IN_VENV) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
