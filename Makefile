# Every target sets itself up: python3 (3.11 or newer) and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMPS := $(VENV)/.stamps
INSTALL := $(PIP) install --quiet -c constraints.txt
BUILD_TOOLS := hatchling ziglang
RUNTIME := hatch_build.py $(wildcard runtime/build.py runtime/src/* runtime/include/*)
JOBS ?= 2
export ZIG_GLOBAL_CACHE_DIR := $(CURDIR)/build/cache/zig

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow size lint bench bench-quick fuzz fuzz-models clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name words; do printf '  make %-11s %s\n' "$$name" "$$words"; done

setup: $(STAMPS)/base ## create .venv and install edgesparse and its runtime into it

demo: $(STAMPS)/demo ## train, prune, compile and run a small classifier
	$(BIN)/python examples/demo.py

test: $(STAMPS)/dev ## run the tests; what a machine lacks for one is said where it is skipped
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q -rs $(ARGS)

test-slow: $(STAMPS)/zoo ## run the slow tests, or PART=boards, hostile, soak, sweeps, torch or zoo; installs torch
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "slow$(if $(PART),(part='$(PART)'))" -q -rs $(ARGS)

size: $(STAMPS)/base ## print what the runtime weighs, against its budgets
	$(BIN)/python runtime/build.py size

lint: $(STAMPS)/dev ## check style, types and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMPS)/bench ## measure against other runtimes (installs torch, and each runtime by itself)
	$(BIN)/python -m bench.run $(ARGS)

bench-quick: $(STAMPS)/dev ## measure small models against ONNX Runtime, in three minutes
	$(BIN)/python -m bench.run --quick $(ARGS)

fuzz: $(STAMPS)/base ## fuzz the loader of artifacts for a minute; needs clang
	$(BIN)/python runtime/build.py fuzz --seconds 60

fuzz-models: $(STAMPS)/dev ## fuzz the compiler with random graphs for a minute; SECONDS=, GRAPHS=, SEED=
	$(BIN)/python -m tests.fuzz $(if $(GRAPHS),--graphs $(GRAPHS)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(SEED),--seed $(SEED)) $(ARGS)

clean: ## remove everything that was built, .venv included
	rm -rf $(VENV) build dist

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is too old; expected 3.11 or newer; try make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

# Without isolation: what builds the package is installed once, in the versions of constraints.txt.
$(STAMPS)/base: $(STAMPS)/venv constraints.txt pyproject.toml $(RUNTIME)
	$(INSTALL) $(BUILD_TOOLS)
	$(INSTALL) --no-build-isolation -e .
	@touch $@

$(STAMPS)/demo $(STAMPS)/dev $(STAMPS)/zoo $(STAMPS)/bench: $(STAMPS)/%: $(STAMPS)/base
	$(INSTALL) --no-build-isolation -e '.[$(EXTRAS_$*)]'
	@touch $@

EXTRAS_demo := demo
EXTRAS_dev := dev
EXTRAS_zoo := dev,zoo,plot,ray
EXTRAS_bench := dev,zoo,bench
