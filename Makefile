# make demo: set up, then the whole method on alanine dipeptide (train, export, simulate, evaluate) in runs/demo
# make test: set up, then the test suite
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

# make docs: the documentation site in docs/_build/html; warnings are errors, and every link within it has to lead
# somewhere. Nothing is taken from the network and no notebook is run. make docs-quick: what has changed, for a look.
# make notebooks: runs the tutorials in full and stores their outputs, some 45 minutes on one core.
.PHONY: docs docs-quick notebooks

SPHINX := $(BIN)/python -m sphinx -b html docs docs/_build/html

docs: setup
	rm -rf docs/_build
	$(SPHINX) --quiet --fail-on-warning --keep-going
	$(BIN)/python docs/check_links.py docs/_build/html

docs-quick: setup
	$(SPHINX) --quiet

notebooks: setup
	nice $(BIN)/python docs/run_notebooks.py

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
