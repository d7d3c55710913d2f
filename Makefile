# Everything a developer runs. `make` alone lists it.
# Another Python beside the usual one: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# An editable install keeps the version it was made with, so the version is part of the stamp's name.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' fireworks_batch/version.py)
PROJECT := $(VENV)/.installed-$(VERSION)
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
DOCS := $(VENV)/.installed-docs
RELEASE := $(VENV)/.installed-release
AIRFLOW_BIN := $(VENV)-airflow/bin
AIRFLOW := $(VENV)-airflow/.installed-$(VERSION)
INTEGRATIONS_BIN := $(VENV)-integrations/bin
INTEGRATIONS := $(VENV)-integrations/.installed-$(VERSION)
OLDEST := $(VENV)-integrations/oldest
FLOOR := $(shell sed -n 's/.*pydantic-ai-slim.*>=\([0-9.]*\)".*/\1/p' pyproject.toml)

SECONDS ?= 600

# They are Python too, but have no ending by which ruff would find them.
SOURCES := . .ci/lowest .ci/release .ci/types

# `--verifytypes` finds the package by the first Python in PATH, and ignores `--pythonpath`.
pyright = PATH="$(BIN):$$PATH" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

.DEFAULT_GOAL := help
.PHONY: help demo install test style mypy pyright imports pytest coverage docs pictures paste release prove tenth chaos cases test-airflow test-integrations format clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: $(PROJECT) ## five jobs to five ends, then requests to results, on servers of their own: needs no account
	$(BIN)/python examples/demo.py
	$(BIN)/fireworks-batch demo

install: $(DEV) ## make the virtual environment with all that `make test` needs

test: style mypy pyright imports pytest ## every check; `make --keep-going test` does not stop at the first failure

style: $(DEV) ## formatting and lint
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

mypy: $(DEV) ## types, by mypy
	$(BIN)/mypy

pyright: $(DEV) ## types, by pyright, as an editor shows them; each name of the package must have one
	$(pyright)
	$(pyright) --verifytypes fireworks_batch --ignoreexternal --outputjson | $(BIN)/python .ci/types

imports: $(DEV) ## the floors: who may import whom
	$(BIN)/lint-imports

pytest: $(DEV) ## the tests alone, but for the chaos
	$(BIN)/pytest -n auto --dist worksteal --ignore=tests/chaos

cases: $(DEV) ## some cases of each kind of chaos, always the same
	$(BIN)/pytest -n auto --dist worksteal tests/chaos

test-airflow: $(AIRFLOW) ## what needs a real Airflow or Temporal, in an environment that has them
	$(AIRFLOW_BIN)/mypy fireworks_batch/airflow/*.py fireworks_batch/airflow/*/*.py
	$(AIRFLOW_BIN)/mypy examples/airflow/*.py examples/temporal_worker.py
	$(AIRFLOW_BIN)/pytest -n 2 --dist loadfile tests/in_airflow tests/in_engines

test-integrations: $(INTEGRATIONS) $(OLDEST)/pydantic_ai ## what needs pydantic, Arrow, OpenTelemetry and others, in an environment that has them
	$(INTEGRATIONS_BIN)/mypy fireworks_batch/integrations/*.py tests/in_integrations/typing/typed_*.py
	$(INTEGRATIONS_BIN)/pytest -n 2 --dist worksteal tests/in_integrations
	PYTHONPATH=$(OLDEST) $(INTEGRATIONS_BIN)/pytest -n 2 tests/in_integrations/test_pydantic_ai.py

coverage: $(DEV) ## the tests with branch coverage, in one process, and the lines they miss
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --show-missing --skip-covered

docs: $(DEV) $(DOCS) ## the documentation, into docs/_build/html, and its tests; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto docs docs/_build/html
	$(BIN)/pytest tests/built_docs

pictures: $(DEV) ## the pictures of README and docs, from real runs on a pseudo-terminal
	$(BIN)/python docs/take_pictures.py

paste: $(DEV) ## README and tutorial, pasted into a shell that has nothing but the built wheel
	rm -rf build/wheel
	$(PIP) wheel --no-deps --wheel-dir build/wheel .
	WHEEL=$$(echo build/wheel/*.whl) $(BIN)/pytest tests/in_a_shell

release: $(RELEASE) ## build and check what a release uploads, and say how; nothing is uploaded
	$(BIN)/python .ci/release
	rm -rf build/release
	$(BIN)/python -m build --outdir build/release
	$(BIN)/twine check --strict build/release/*
	$(BIN)/python .ci/release build/release

prove: $(PROJECT) $(BENCH) ## the benchmarks, the courses and the crashes at full size (minutes)
	$(BIN)/python benchmarks

tenth: $(PROJECT) $(BENCH) ## the benchmarks at a tenth of their size, for a first idea
	$(BIN)/python benchmarks --tenth

chaos: $(DEV) ## harm to everything around the client, for SECONDS; the figures go to chaos.json
	$(BIN)/python tests/chaos --seconds $(SECONDS) --json chaos.json

format: $(DEV) ## put the code into shape
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean: ## remove the virtual environment and everything generated
	rm -rf $(VENV) $(VENV)-airflow $(VENV)-integrations try build dist docs/_build docs/_drawn chaos.json .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Dependency groups need pip 25.1, which is newer than what most Pythons bring along.
$(PROJECT): pyproject.toml | $(BIN)/python
	$(PIP) install 'pip>=25.1'
	$(PIP) install --editable ".[cli]"
	rm -f $(VENV)/.installed-*
	touch $@

$(DEV): $(PROJECT)
	$(PIP) install --group dev
	touch $@

$(DOCS): $(PROJECT)
	$(PIP) install --group docs
	touch $@

$(RELEASE): $(PROJECT)
	$(PIP) install --group release
	touch $@

$(BENCH): $(PROJECT)
	$(PIP) install --group bench
	touch $@

# Airflow brings 134 packages, so it has an environment of its own.
$(AIRFLOW): pyproject.toml
	$(PYTHON) -m venv $(VENV)-airflow
	$(AIRFLOW_BIN)/python -m pip --quiet --disable-pip-version-check install 'pip>=25.1'
	$(AIRFLOW_BIN)/python -m pip --quiet --disable-pip-version-check install --editable ".[airflow]" --group engines
	rm -f $(VENV)-airflow/.installed-*
	touch $@

# The other integrations share one: some 60 packages.
$(INTEGRATIONS): pyproject.toml
	$(PYTHON) -m venv $(VENV)-integrations
	$(INTEGRATIONS_BIN)/python -m pip --quiet --disable-pip-version-check install 'pip>=25.1'
	$(INTEGRATIONS_BIN)/python -m pip --quiet --disable-pip-version-check install --editable ".[arrow,cli,cost,otel,pydantic,pydantic-ai]" --group integrations
	rm -f $(VENV)-integrations/.installed-*
	touch $@

# The first version whose hooks for batches we use: they are young, and may change.
$(OLDEST)/pydantic_ai: $(INTEGRATIONS)
	rm -rf $(OLDEST)
	$(INTEGRATIONS_BIN)/python -m pip --quiet --disable-pip-version-check install --no-deps --target $(OLDEST) pydantic-ai-slim==$(FLOOR) pydantic-graph==$(FLOOR)
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
