# Two commands do all the set-up on a fresh Debian machine: `make demo` shows the main job, `make test` runs the tests.
# They install what is missing (as root), into a virtual environment of their own and from Debian's packages.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types docs bench-services bench clean

demo: $(READY)
	.ci/packages demo
	PATH="$(abspath $(BIN)):$$PATH" bench/demo

test: $(READY)
	.ci/packages test
	.ci/cluster-programs >/dev/null
	.ci/with-engines .ci/tests $(BIN)/python $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m pytest -q tests/docs

bench-services: $(READY)
	.ci/packages test
	.ci/with-engines $(BIN)/python -m bench.services $(ARGS)

bench: $(READY)
	.ci/packages test
	.ci/with-engines $(BIN)/python -m bench $(ARGS)

$(READY): pyproject.toml .ci/packages
	.ci/packages base
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
