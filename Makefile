# Names for the project's commands; what they do is in pyproject.toml and in Python.

PYTHON ?= python3
# Relative, so that the checkout's own path may hold spaces.
BIN := .venv/bin
READY := .venv/.ready
TEST_JOBS ?= 2
# What `make check` runs: tests that build no simulator of the RTL, synthesise nothing and end soon.
FAST ?= tests/test_imports.py $(filter-out %/test_packaging.py,$(wildcard tests/vta/test_*.py)) \
	tests/sim/functional tests/sim/test_memory.py tests/sim/test_replay.py \
	tests/compiler/te tests/compiler/passes tests/compiler/check tests/compiler/encode \
	$(addprefix tests/compiler/test_,$(addsuffix .py,build edges errors layers lower nest_errors reductions)) \
	tests/hw/bus tests/hw/issue tests/hw/control
# Memory images that `make performance` measures beside the project's own streams.
IMAGES ?= $(wildcard ../shared/vectors/*.npz)

.DEFAULT_GOAL := help
.PHONY: help vadd check test test-full campaign prove coverage verilog docs site notebooks performance lint format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

vadd: $(READY)  ## Run the vector add on both simulators and compare with numpy
	$(BIN)/vta vadd

check: lint  ## Check style and types, and run the fast tests (two minutes)
	$(BIN)/python -m pytest -q -n $(TEST_JOBS) $(FAST)

test: $(READY)  ## Run the tests (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(TEST_JOBS)

test-full: $(READY)  ## Run the long tests too
	$(BIN)/python -m pytest -n $(TEST_JOBS) --full

campaign: $(READY)  ## Run random programs on all simulators for an hour
	$(BIN)/vta fuzz --minutes 60

prove: $(READY)  ## Prove the properties of docs/verification.md, and that planted faults break them
	$(BIN)/python -m pytest -n $(TEST_JOBS) --full tests/formal

coverage: $(READY)  ## Run the tests, and show which lines they reach
	$(BIN)/python -m pytest -n $(TEST_JOBS) --cov

verilog: $(READY)  ## Write build/vta.v for the current configuration
	@mkdir -p build
	$(BIN)/vta verilog -o build/vta.v

performance: $(READY)  ## Measure docs/performance.md again (takes many minutes)
	$(BIN)/vta bench --page docs/performance.md $(IMAGES)

docs: $(READY)  ## Write the generated tables of docs/ and the constants of driver/c/vta.h again
	$(BIN)/python -m vta.driver.c.c_header
	$(BIN)/python docs/generate.py

site: $(READY)  ## Build the documentation as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

notebooks: $(READY)  ## Run the walk-throughs and write their notebooks again
	$(BIN)/python examples/notebooks.py

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Lay the code out, and repair what can be repaired by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the build made, .venv included
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made on first use, and again when pyproject.toml changes. pip says only what goes wrong.
$(READY): pyproject.toml
	@echo "Making .venv and downloading what the project needs (a minute or two on first use) ..."
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)
