# Two commands do everything on a fresh machine: `make demo` and `make test`. `make quick` is for before a commit.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST ?= .venv-lowest
# One or two files a library: they call it as the rooms do. That an old library is to be called otherwise by what is new
# among its own requirements (matplotlib 3.10.0 and pyparsing) is nothing to us: it works.
LOWEST_TESTS := $(addprefix tests/, \
	unit/images/test_decode.py unit/images/test_perceptual.py \
	unit/embedding/test_backbones.py unit/embedding/test_inference.py \
	unit/index/test_edge.py unit/index/test_server.py \
	unit/catalog/test_datasets.py unit/catalog/test_recording.py migrations/test_schema.py \
	unit/detection/seed/test_logistic.py unit/detection/scores/test_membership.py \
	unit/detection/release/test_membership_test.py unit/detection/test_paper.py \
	unit/report unit/exports unit/cli \
	e2e/test_python_api.py e2e/test_watch.py)

.PHONY: help env demo test quick test-server coverage check format pytest lowest lowest-env constraints build clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(INSTALLED) ## Make the environment in .venv

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: env ## Make phantoms, ingest, audit: the main job from end to end
	$(BIN)/provenance demo

test: env check pytest ## All checks, then all tests (starts a PostgreSQL of its own)

quick: env check ## Format, lint, types, and the unit tests that take no more than a few seconds
	$(BIN)/python -m pytest -q -n auto -m "not slow and not postgres" tests/unit

check: env ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pytest: env
	scripts/ensure-chromium
	scripts/with-postgres $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--durations=20

test-server: env ## What needs a real Qdrant: URL=http://...:6333 (GRPC=grpc://...), of a cluster URLS=a,b,c, BINARY=qdrant
	@test -n "$(URL)$(URLS)$(BINARY)" || { echo "which server? URL=http://HOST:PORT, URLS=..., BINARY=/path/to/qdrant"; exit 2; }
	PROVENANCE_TEST_QDRANT_URL='$(URL)' PROVENANCE_TEST_QDRANT_GRPC_URL='$(GRPC)' \
		PROVENANCE_TEST_QDRANT_URLS='$(URLS)' PROVENANCE_TEST_QDRANT_BINARY='$(BINARY)' \
		$(BIN)/python -m pytest -m server --durations=20 tests/congruence tests/server

coverage: env ## The share of the code that the quick unit tests run; measuring takes them twice as long
	$(BIN)/python -m pytest -q -n auto -m "not slow and not postgres" --cov --cov-report=term tests/unit

lowest-env: $(LOWEST)/.installed ## Make an environment of the lowest versions in .venv-lowest

$(LOWEST)/.installed: pyproject.toml scripts/lowest.py
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python scripts/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt \
		'pytest>=8.3' 'pytest-xdist>=3.6' 'hypothesis>=6.120' 'onnx>=1.17' --editable '.[all]'
	touch $@

lowest: lowest-env ## With the lowest versions that pyproject.toml allows, the tests that use the libraries
	scripts/with-postgres $(LOWEST)/bin/python -m pytest -q -x -n auto --maxprocesses 4 --dist loadfile -m "not slow" \
		-W ignore::DeprecationWarning $(LOWEST_TESTS)

constraints: env ## Write the versions of the environment into constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable \
		| grep -Eiv '^(nvidia|cuda|triton|torch|faiss|pip|setuptools)'; } > constraints.new && mv constraints.new constraints.txt

build: env ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
