# make run    meta-train on drawn characters for about a minute
# make test   the test suite; make thorough digs deeper, make mutants tests the tests
# Both make their own virtual environment in .venv and install what they need.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test thorough mutants bench clean

run: .venv/.cli,numba
	$(BIN)/minireptile train glyphs --iterations 400 --inner-lr 0.002 --out runs/demo --overwrite

test: .venv/.dev
	$(BIN)/python -m pytest

thorough: .venv/.dev
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest

mutants: .venv/.mutants
	$(BIN)/python -m tests.mutants.run

bench: .venv/.cli,numba
	$(BIN)/python -m bench all

.venv/.cli,numba .venv/.dev .venv/.mutants: .venv/.%: setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "minireptile needs Python 3.10 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
