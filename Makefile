# make run    meta-train on drawn characters for about a minute
# make test   the test suite; make quick its core in NumPy, in a minute; make long what takes longer
# make portable   the numerical tests again, as other processors would compute them
# make thorough   the suite with more random examples
# make mutants, make kernel-mutants   do the tests notice when a line is wrong?
# These make their own virtual environment in .venv and install what they need.
# make peers-test   the same meta-iteration in PyTorch and JAX, which it installs into .venv/peers
# make workers-test   Dask's workers and MPI's ranks compute a run, which it installs into .venv/workers
# make pages-test   the figures of `minireptile explore` in Chromium, which must be there
# make site     these pages and the API as a site, in build/site; make site-test looks at it in Chromium
# make dist     a wheel and a source archive in dist/
# make gpu-test   what only a GPU can show; make gpu-bench measures it, in 25 minutes
# These two take the Python that they are given, PYTHON=python3, with the packages that it has;
# without one they make the environment too, for CUDA 13, or 12 with CUDA=cuda12.

PYTHON ?= python3
BIN := .venv/bin

CUDA ?= cuda13
GIVEN := $(if $(filter file,$(origin PYTHON)),,$(PYTHON))
GPU_PYTHON := $(or $(GIVEN),$(BIN)/python)
GPU_TESTS := tests/kernels/test_contract.py tests/gpu/test_gpu.py tests/gpu/test_cu_compiles.py

.PHONY: run quick test long portable thorough mutants kernel-mutants bench peers-test pages-test \
  site site-test workers-test gpu-test gpu-bench dist clean

run: .venv/.cli,numba
	$(BIN)/minireptile train glyphs --classes 500 --iterations 400 --inner-lr 0.002 \
	  --eval-every 50 --test-tasks 80 --out runs/demo --overwrite

# Two processes: each begins with half of the files, and takes from the other when it is done. Each
# has one thread of BLAS: with more, they spend twice the time, waiting for each other.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# With Numba's compiler off, its tests say so and are skipped.
quick: .venv/.dev
	NUMBA_DISABLE_JIT=1 $(PYTEST) tests/kernels tests/engine tests/algorithms \
	  -m "not long" -k "not gpu and not maml_exact and not sine_waves_are_learned"

# First the large programs that many files need, each compiled by one process.
test: .venv/.dev
	$(BIN)/python -m tests.compile
	$(PYTEST) -m "not long and not browser"

long: .venv/.dev
	$(PYTEST) -m long

portable: .venv/.dev
	$(BIN)/python -m tests.portable

thorough: .venv/.dev
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m "not browser"

# PART="evaluate runs" for some parts of tests/mutants/parts.py; compiled kernels need .dev as well.
mutants: .venv/.mutants
	$(BIN)/python -m tests.mutants.run $(PART)

kernel-mutants: .venv/.dev
	for backend in numba cuda numba-cuda; do \
	  $(BIN)/python -m tests.mutants.kernels --backend $$backend || exit 1; \
	done

bench: .venv/.cli,numba
	$(BIN)/python -m bench all

# An environment of their own: what they bring along must not change what the others find.
PEERS := torch==2.13.0 jax>=0.10,<0.11
PEERS_TESTS := tests/bench/test_bench_peers.py tests/bench/test_bench_gpu_meta.py \
  tests/bench/test_bench_gpu_kernels.py tests/bench/test_bench_weights.py
KIT_TESTS := tests/testing/test_from_torch.py tests/testing/test_from_jax.py \
  tests/testing/test_framework_pages.py tests/testing/test_versus.py tests/testing/test_reach.py

peers-test: .venv/peers/.installed
	.venv/peers/bin/python -m pytest $(PEERS_TESTS) -k 'framework or library or processes or scans' -rs
	.venv/peers/bin/python -m pytest $(KIT_TESTS) -rs

.venv/peers/.installed: setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet --editable '.[dev]' $(foreach peer,$(PEERS),'$(peer)')
	@touch $@

# The library of MPI, and mpiexec, come from the index too.
workers-test: .venv/workers/.installed
	.venv/workers/bin/python -m pytest tests/runs/test_workers_elsewhere.py -rs

.venv/workers/.installed: setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m venv .venv/workers
	.venv/workers/bin/python -m pip install --quiet --editable '.[dev,dask,mpi]' mpich
	@touch $@

# Python for the page, by npm; the NumPy that goes with it, which npm has not, from a copy that
# MINIREPTILE_PYODIDE names: without one, the static pages are not opened.
pages-test: .venv/.dev,pages .venv/pages/.fetched
	MINIREPTILE_BROWSER=required $(BIN)/python -m pytest -n 2 --dist loadgroup -m browser tests/explore -rs

.venv/pages/.fetched: | .venv/bin/python
	mkdir -p .venv/pages/pyodide .venv/pages/axe
	cd .venv/pages && npm pack --silent pyodide@314.0.3 axe-core@4.14.1
	tar xzf .venv/pages/pyodide-*.tgz -C .venv/pages/pyodide
	tar xzf .venv/pages/axe-core-*.tgz -C .venv/pages/axe
	@touch $@

# Warnings are errors: a formula that KaTeX cannot read, a link that leads nowhere, a page in no list.
# With EXPLORE=DIR, a copy of Pyodide and its NumPy, the pages of minireptile explore are in it too.
site: .venv/.cli,docs .venv/katex/.fetched
	rm -rf build/site
	$(BIN)/python -m sphinx -q -n -W --keep-going -E -d build/doctrees -c docs . build/site
	$(if $(EXPLORE),$(BIN)/python -m minireptile explore --static build/site/explore --pyodide $(EXPLORE))
	$(BIN)/python -m docs.check build/site

site-test: site .venv/.dev,pages
	MINIREPTILE_BROWSER=required $(BIN)/python -m pytest -m browser tests/site -rs

.venv/katex/.fetched: | .venv/bin/python
	mkdir -p .venv/katex
	cd .venv/katex && npm pack --silent katex@0.19.1 && tar xzf katex-*.tgz
	@touch $@

gpu-test: $(if $(GIVEN),,.venv/.dev,$(CUDA))
	$(GPU_PYTHON) -m pytest $(GPU_TESTS) -W default -rs

gpu-bench: $(if $(GIVEN),,.venv/.dev,$(CUDA))
	$(GPU_PYTHON) -m bench gpu

.venv/.cli,numba .venv/.dev .venv/.dev,pages .venv/.dev,$(CUDA) .venv/.cli,docs .venv/.mutants: .venv/.%: setup.py pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "minireptile needs Python 3.10 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv

dist: .venv/.dev
	$(BIN)/python -m build

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
