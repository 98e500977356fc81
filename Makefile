# `make help` lists what there is; every target sets up what it needs in .venv.
# Variables: PYTHON (an interpreter >= 3.11, < 3.15), EXTRA (cpu or cuda13), TORCH_INDEX (URL of another torch index)

.DEFAULT_GOAL := help

PYTHON ?= python3
EXTRA ?= cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.fpforce-$(EXTRA)
DEV := $(VENV)/.dev-$(EXTRA)

.PHONY: help demo setup setup-dev lint format types imports test test-device test-long benchmarks-quick torture dist release clean

help:  ## list these targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## fpforce-fit on alanine dipeptide: a force field and its report in runs/demo, 13 minutes
	$(BIN)/python examples/alanine_dipeptide/demo.py

lint: setup-dev  ## what ruff has to say about the code and its format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup-dev  ## let ruff mend both
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: setup-dev  ## the type checker, mypy
	$(BIN)/mypy

imports: setup-dev  ## the contract of who may import whom, import-linter
	$(BIN)/lint-imports

# A process of tests for every core, one thread each.
test: setup  ## the tests, but for the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" --numprocesses auto --dist loadfile

test-device: setup  ## the GPU kernels on an OpenCL of the processor, where pocl is installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/plugin/test_device.py tests/plugin/test_device_layout.py

test-long: setup  ## the long tests, each of which takes minutes
	$(BIN)/python -m pytest -m long

benchmarks-quick: setup  ## every benchmark in miniature, but those of `torture`
	$(BIN)/python benchmarks/run_quick.py

# Everything that can go wrong around a run; the figures go to docs/results. Full disks take root. In miniature: each script with --quick.
torture: setup  ## kills, faults, damaged and hostile files, memory over long runs: 50 minutes
	for script in hostile damage kills faults steady; do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/torture/$$script.py || exit 1; done

dist: setup-dev  ## sdist and wheel in dist/, looked through and tried
	$(BIN)/python .ci/distributions.py dist

release: setup-dev  ## make release VERSION=1.2.3 [DRY_RUN=1]: check, build, tag; uploads nothing
	@test -n "$(VERSION)" || { echo "error: say which: make release VERSION=1.2.3"; exit 2; }
	$(BIN)/python .ci/release.py $(VERSION) $(if $(DRY_RUN),--dry-run)

setup: $(READY)  ## .venv with fpforce as it is in this folder, its plugin compiled, and the tests' needs

setup-dev: $(DEV)  ## the same with the extra `dev`: ruff, mypy, import-linter, pre-commit, build

$(DEV): $(READY) pyproject.toml
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/dev.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/dev.txt
	@touch $@

# What is compiled or copied at install time, even in an editable install: the native plugin and the report's templates.
PLUGIN := $(shell find plugin -path plugin/tests -prune -o -name '*.cpp' -print -o -name '*.h' -print -o -name '*.hpp' -print -o -name '*.inl' -print \
	-o -name '*.py' -print -o -name '*.txt' -print \
	-o -name '*.cc' -print -o -name '*.in' -print -o -name '*.map' -print)
PACKAGE := $(shell find fpforce training -name '*.py' -print -o -name '*.j2' -print) $(wildcard fpforce/shipped/*.*)
$(READY): pyproject.toml CMakeLists.txt $(PLUGIN) $(wildcard fpforce/analysis/*.j2)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python >= 3.11 (such as: apt-get install python3 python3-venv), or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { echo "error: $$($(PYTHON) --version) does not fit, fpforce needs Python >= 3.11 and < 3.15; name another: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (such as: apt-get install python3-venv), or name another python with PYTHON="; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip uninstall --quiet --yes $(if $(filter cpu,$(EXTRA)),acellera-openmmtorch-cu13,acellera-openmmtorch-cpu)
	@rm -f $(VENV)/.fpforce-* $(VENV)/.dev-*
	@test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install --index-url "$(TORCH_INDEX)" "torch>=2.10,<2.13"
	$(BIN)/python -m pip install -e ".[$(EXTRA),test]"
	@touch $@

# Each OpenMM in an environment without torch in build/openmm-*, and the wheel that is built beside it in build/wheels/*, without
# isolation, so that only what has changed is compiled again. What the tests evaluate is made first, where torch is.
OPENMM_VERSIONS ?= 8.3.1 8.4.0 8.5.2 8.6.1
OPENMM_TESTS := $(addprefix tests/plugin/test_,force.py update.py serialization.py accuracy.py library.py) \
	tests/fpforce/system/test_add_force.py tests/fpforce/system/test_openmm_ml.py tests/examples/test_openmm.py
TEST_MODELS := $(CURDIR)/build/test-models

.PHONY: test-openmm $(OPENMM_VERSIONS:%=test-openmm-%) wheels

test-openmm: $(OPENMM_VERSIONS:%=test-openmm-%)  ## the native plugin beside OpenMM 8.3 to 8.6

$(TEST_MODELS): $(READY)
	rm -rf $@
	OMP_NUM_THREADS=1 FPFORCE_TEST_MODELS=$@ $(BIN)/python -m pytest -q tests/plugin/test_force.py tests/plugin/test_accuracy.py
	@touch $@

$(OPENMM_VERSIONS:%=build/wheels/%/built): build/wheels/%/built: pyproject.toml CMakeLists.txt $(PLUGIN) $(PACKAGE)
	@test -x build/openmm-$*/bin/python || $(PYTHON) -m venv build/openmm-$*
	build/openmm-$*/bin/python -m pip install --quiet "pip>=24" "scikit-build-core>=1.1.2,<2" cmake ninja openmm==$*
	rm -rf build/wheels/$* && mkdir -p build/wheels/$*
	build/openmm-$*/bin/python -m pip wheel --quiet --no-deps --no-build-isolation . --wheel-dir build/wheels/$* --config-settings=build-dir=build/openmm-$*/fpforce
	@touch $@

# With openmm-ml and openmmtools where they go with this OpenMM; their tests are skipped where they are missing.
$(OPENMM_VERSIONS:%=test-openmm-%): test-openmm-%: build/wheels/%/built $(TEST_MODELS)
	build/openmm-$*/bin/python -m pip install --quiet pytest openmm==$* build/wheels/$*/*.whl
	build/openmm-$*/bin/python -m pip install --quiet --force-reinstall --no-deps build/wheels/$*/*.whl
	-build/openmm-$*/bin/python -m pip install --quiet openmm==$* openmmtools
	-build/openmm-$*/bin/python -m pip install --quiet openmm==$* "openmmml>=1.7"
	OMP_NUM_THREADS=1 FPFORCE_TEST_MODELS=$(TEST_MODELS) build/openmm-$*/bin/python -m pytest -q -rs $(OPENMM_TESTS)

# One wheel with the plugin for each OpenMM, made of those four; with another Python it is the same file.
wheels: setup-dev $(TEST_MODELS) $(OPENMM_VERSIONS:%=build/wheels/%/built)  ## a manylinux wheel that needs no compiler and goes with OpenMM 8.3 to 8.6, and the sdist, in dist/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python .ci/wheels.py dist $(TEST_MODELS)/internal.pt $(OPENMM_VERSIONS:%=build/wheels/%)

# The backend `python` with the oldest torch that it is for and the newest there is, beside the newest OpenMM, for which
# openmm-torch has no wheel. The native backend is there to compare with.
TORCH_VERSIONS ?= 2.10.0 2.15.0
NEWEST_OPENMM := $(lastword $(OPENMM_VERSIONS))
TORCH_TESTS := tests/fpforce/system/test_python_backend.py tests/fpforce/system/test_add_force.py tests/examples/test_openmm.py

.PHONY: test-torch $(TORCH_VERSIONS:%=test-torch-%)

test-torch: $(TORCH_VERSIONS:%=test-torch-%)  ## the backend `python` with the oldest and the newest torch

$(TORCH_VERSIONS:%=test-torch-%): test-torch-%: build/wheels/$(NEWEST_OPENMM)/built $(TEST_MODELS)
	@test -x build/torch-$*/bin/python || $(PYTHON) -m venv build/torch-$*
	build/torch-$*/bin/python -m pip install --quiet pytest torch==$* openmm==$(NEWEST_OPENMM) "$$(ls build/wheels/$(NEWEST_OPENMM)/*.whl)[training]"
	build/torch-$*/bin/python -m pip install --quiet --force-reinstall --no-deps build/wheels/$(NEWEST_OPENMM)/*.whl
	OMP_NUM_THREADS=1 FPFORCE_TEST_MODELS=$(TEST_MODELS) build/torch-$*/bin/python -m pytest -q -rs $(TORCH_TESTS)

# The device kernels as CUDA text, compiled by NVRTC, and OpenMM's part of that text out of its wheel. No GPU is needed.
CUDA_WHEEL := build/openmm-cuda

.PHONY: test-cuda

test-cuda: setup  ## the text of the GPU kernels, compiled for CUDA
	$(BIN)/python -m pip install --quiet "nvidia-cuda-nvrtc>=13,<14"
	$(BIN)/python -m pip download --quiet --no-deps --dest $(CUDA_WHEEL) OpenMM-CUDA-13==8.5.2
	$(BIN)/python -m zipfile -e $(CUDA_WHEEL)/*.whl $(CUDA_WHEEL)
	FPFORCE_OPENMM_CUDA=$(CURDIR)/$(CUDA_WHEEL)/OpenMM.libs/lib/plugins/libOpenMMCUDA.so $(BIN)/python -m pytest -q tests/plugin/test_device_cuda.py

# The same as HIP text, for AMD's GPUs, by hiprtc and by clang of Debian 12: apt-get install libamdhip64-dev clang-19. No GPU is needed.
HIP_WHEEL := build/openmm-hip

.PHONY: test-hip

test-hip: setup  ## the text of the GPU kernels, compiled for HIP; takes libamdhip64-dev and clang-19
	$(BIN)/python -m pip download --quiet --no-deps --dest $(HIP_WHEEL) OpenMM-HIP-6==8.5.2
	$(BIN)/python -m zipfile -e $(HIP_WHEEL)/*.whl $(HIP_WHEEL)
	FPFORCE_OPENMM_HIP=$(CURDIR)/$(HIP_WHEEL)/OpenMM.libs/lib/plugins/libOpenMMHIP.so $(BIN)/python -m pytest -q tests/plugin/test_device_hip.py

# Warnings are errors, and every link within the site has to lead somewhere. Nothing is taken from the network; notebooks are
# shown with their stored outputs, which `make notebooks` makes anew.
.PHONY: docs docs-quick notebooks

SPHINX := $(BIN)/python -m sphinx -b html docs docs/_build/html

docs: setup  ## the documentation site in docs/_build/html, its links checked
	rm -rf docs/_build
	$(SPHINX) --quiet --fail-on-warning --keep-going
	$(BIN)/python docs/check_links.py docs/_build/html

docs-quick: setup  ## the same for a look: what has changed, warnings allowed
	$(SPHINX) --quiet

notebooks: setup  ## run the tutorials in full and store their outputs, 45 minutes
	nice $(BIN)/python docs/run_notebooks.py

clean:  ## remove .venv, build, dist, runs and the built site
	rm -rf $(VENV) build dist runs docs/_build

# The C++ tests and the fuzzing of plugin/kernels, plain, under AddressSanitizer with UBSan, and under ThreadSanitizer. Needs
# CMake and a C++17 compiler, no OpenMM. CXX=clang++ works too (after rm -r build/native-*).
FUZZ_CASES ?= 200000
SANITIZER_plain :=
SANITIZER_address := address
SANITIZER_thread := thread

.PHONY: test-native test-native-plain test-native-address test-native-thread

test-native: test-native-plain test-native-address test-native-thread  ## the C++ tests and fuzzing, with sanitizers; FUZZ_CASES=200000

test-native-plain test-native-address test-native-thread: test-native-%:
	cmake -S plugin/tests -B build/native-$* -DFPFORCE_SANITIZE=$(SANITIZER_$*) -DCMAKE_CXX_FLAGS=-Werror >/dev/null
	cmake --build build/native-$* --parallel 2
	build/native-$*/kernel_tests
	$(if $(filter thread,$*),,build/native-$*/fuzz_model $(FUZZ_CASES))
