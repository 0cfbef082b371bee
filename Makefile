# Two commands do everything on a fresh machine: `make demo` and `make test`. `make quick` is for before a commit.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST ?= .venv-lowest

.PHONY: help env demo test quick check format pytest lowest lowest-env constraints build clean

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
		--cov --cov-report=term --durations=20

lowest-env: ## Make an environment of the lowest versions in .venv-lowest
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python scripts/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt \
		'pytest>=8.3' 'pytest-xdist>=3.6' 'hypothesis>=6.120' 'onnx>=1.17' --editable '.[all]'

lowest: lowest-env ## The quick unit tests with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -q -n auto -m "not slow and not postgres" tests/unit

constraints: env ## Write the versions of the environment into constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable \
		| grep -Eiv '^(nvidia|cuda|triton|torch|faiss|pip|setuptools)'; } > constraints.new && mv constraints.new constraints.txt

build: env ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
