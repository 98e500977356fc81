# make demo: set up, then the whole method on alanine dipeptide (train, export, simulate, evaluate) in runs/demo
# make test: set up, then the test suite
# make test-openmm: the native plugin beside OpenMM 8.3 to 8.6
# Variables: PYTHON (an interpreter >= 3.11, < 3.14), EXTRA (cpu or cuda13), TORCH_INDEX (URL of another torch index)

PYTHON ?= python3
EXTRA ?= cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.fpforce-$(EXTRA)

.PHONY: demo test test-long setup clean

demo: setup
	$(BIN)/python examples/alanine_dipeptide/demo.py

# A process of tests for every core, one thread each.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" --numprocesses auto --dist loadfile

test-long: setup
	$(BIN)/python -m pytest -m long

setup: $(READY)

# What is compiled or copied at install time, even in an editable install: the native plugin and the report's templates.
PLUGIN := $(shell find plugin -path plugin/tests -prune -o -name '*.cpp' -print -o -name '*.h' -print -o -name '*.inl' -print \
	-o -name '*.py' -print -o -name '*.txt' -print)
$(READY): pyproject.toml CMakeLists.txt $(PLUGIN) $(wildcard fpforce/analysis/*.j2)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python >= 3.11 (such as: apt-get install python3 python3-venv), or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: $$($(PYTHON) --version) does not fit, fpforce needs Python >= 3.11 and < 3.14; name another: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (such as: apt-get install python3-venv), or name another python with PYTHON="; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip uninstall --quiet --yes $(if $(filter cpu,$(EXTRA)),acellera-openmmtorch-cu13,acellera-openmmtorch-cpu)
	@rm -f $(VENV)/.fpforce-*
	@test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install --index-url "$(TORCH_INDEX)" "torch>=2.10,<2.13"
	$(BIN)/python -m pip install -e ".[$(EXTRA),test]"
	@touch $@

# make test-openmm: the native plugin's tests beside every supported OpenMM, each in an environment without torch in build/openmm-*.
# What they evaluate is made first, where torch is.
OPENMM_VERSIONS ?= 8.3.1 8.4.0 8.5.2 8.6.1
OPENMM_TESTS := $(addprefix tests/plugin/test_,force.py update.py serialization.py accuracy.py library.py)
TEST_MODELS := $(CURDIR)/build/test-models

.PHONY: test-openmm $(OPENMM_VERSIONS:%=test-openmm-%)

test-openmm: $(OPENMM_VERSIONS:%=test-openmm-%)

$(TEST_MODELS): $(READY)
	rm -rf $@
	OMP_NUM_THREADS=1 FPFORCE_TEST_MODELS=$@ $(BIN)/python -m pytest -q tests/plugin/test_force.py tests/plugin/test_accuracy.py
	@touch $@

$(OPENMM_VERSIONS:%=test-openmm-%): test-openmm-%: $(TEST_MODELS)
	@test -x build/openmm-$*/bin/python || $(PYTHON) -m venv build/openmm-$*
	build/openmm-$*/bin/python -m pip install --quiet "pip>=24" pytest openmm==$*
	build/openmm-$*/bin/python -m pip install --quiet . --config-settings=build-dir=build/openmm-$*/fpforce
	OMP_NUM_THREADS=1 FPFORCE_TEST_MODELS=$(TEST_MODELS) build/openmm-$*/bin/pytest -q -rs $(OPENMM_TESTS)

clean:
	rm -rf $(VENV) build runs

# make test-native: the C++ tests and the fuzzing of plugin/kernels, plain, under AddressSanitizer with UBSan, and under
# ThreadSanitizer. Needs CMake and a C++17 compiler, no OpenMM. CXX=clang++ works too (after rm -r build/native-*).
FUZZ_CASES ?= 200000
SANITIZER_plain :=
SANITIZER_address := address
SANITIZER_thread := thread

.PHONY: test-native test-native-plain test-native-address test-native-thread

test-native: test-native-plain test-native-address test-native-thread

test-native-plain test-native-address test-native-thread: test-native-%:
	cmake -S plugin/tests -B build/native-$* -DFPFORCE_SANITIZE=$(SANITIZER_$*) -DCMAKE_CXX_FLAGS=-Werror >/dev/null
	cmake --build build/native-$* --parallel 2
	build/native-$*/kernel_tests
	$(if $(filter thread,$*),,build/native-$*/fuzz_model $(FUZZ_CASES))
