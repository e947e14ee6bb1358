# Every target sets up what it needs: Python >= 3.11 with venv and pip, make and git are enough.
#
#   make demo                   watch the cache work on a shop database
#   make example                serve the example application on port 8000
#   make test                   the suite on SQLAlchemy 2.1, then on 2.0
#   make test WORKERS=0 PYTEST_ARGS="tests/unit -x"
#   make sqlalchemy-tests       SQLAlchemy's ORM tests, every SELECT served from the cache
#   make check                  formatting, lint, types, import rules
#   make PYTHON=python3.13 …    another interpreter (after `make clean`)

PYTHON ?= python3
# pytest-xdist's processes; each starts its own private servers. 0 runs in one process.
WORKERS ?= auto
PYTEST_ARGS ?=
DEMO_ARGS ?=
# Where `make example` listens.
PORT ?= 8000

VENV := .venv
VENV20 := .venv-sa20
PIP_INSTALL = -m pip --disable-pip-version-check install --quiet
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header

# The pyright wheel carries its own JavaScript; keep it from looking for a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

.DEFAULT_GOAL := help
.PHONY: help demo example venv test test-sa21 test-sa20 test-deep sqlalchemy-tests coverage check lint format-check types imports fmt requirements upgrade changelog clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

# --- environments ---------------------------------------------------------------------------------------------------
# A stamp file is newer than its requirements when the environment holds them. The pins of demo.txt and example.txt are
# subsets of those of dev.txt, so that the full environment serves both, and each alone installs little.

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV20)/bin/python:
	$(PYTHON) -m venv $(VENV20)

$(VENV)/.stamp-demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) -r requirements/demo.txt
	$(VENV)/bin/python $(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.stamp-example: requirements/example.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) -r requirements/example.txt
	$(VENV)/bin/python $(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.stamp-dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) -r requirements/dev.txt
	$(VENV)/bin/python $(PIP_INSTALL) --no-deps --editable .
	@touch $@ $(VENV)/.stamp-demo $(VENV)/.stamp-example

$(VENV20)/.stamp-dev: requirements/dev-sa20.txt pyproject.toml | $(VENV20)/bin/python
	$(VENV20)/bin/python $(PIP_INSTALL) -r requirements/dev-sa20.txt
	$(VENV20)/bin/python $(PIP_INSTALL) --no-deps --editable .
	@touch $@

venv: $(VENV)/.stamp-dev $(VENV20)/.stamp-dev

# --- what people run ------------------------------------------------------------------------------------------------

demo: $(VENV)/.stamp-demo
	$(VENV)/bin/rowstamp demo $(DEMO_ARGS)

example: $(VENV)/.stamp-example
	$(VENV)/bin/python -m uvicorn examples.shop.app:app --port $(PORT)

test: test-sa21 test-sa20

test-sa21: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m "not deep" $(PYTEST_ARGS)

# What does not depend on SQLAlchemy's version (marked `once`) has run already.
test-sa20: $(VENV20)/.stamp-dev
	$(VENV20)/bin/python -m pytest -n $(WORKERS) -m "not deep and not once" $(PYTEST_ARGS)

test-deep: $(VENV)/.stamp-dev
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m deep $(PYTEST_ARGS)

# SQLAlchemy's own tests of its ORM, of the version that is installed, with every SELECT served from the cache; -s keeps
# them from importing the sources that they lie beside.
SQLALCHEMY_TESTS := build/sqlalchemy
sqlalchemy-tests: $(VENV)/.stamp-dev
	rm -rf $(SQLALCHEMY_TESTS)
	version=$$($(VENV)/bin/python -c 'import sqlalchemy; print(sqlalchemy.__version__)') && \
	$(VENV)/bin/python -m pip --disable-pip-version-check download --quiet --no-deps --no-binary sqlalchemy \
		--dest $(SQLALCHEMY_TESTS) sqlalchemy==$$version
	tar --extract --file $(SQLALCHEMY_TESTS)/*.tar.gz --directory $(SQLALCHEMY_TESTS) --strip-components 1
	cd $(SQLALCHEMY_TESTS) && PYTHONPATH=$(CURDIR)/tests/orm_suite $(CURDIR)/$(VENV)/bin/python -s -m pytest \
		-p cached_everywhere --db sqlite_file --quiet -n $(WORKERS) test/orm $(PYTEST_ARGS)

coverage: $(VENV)/.stamp-dev
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest -m "not deep" $(PYTEST_ARGS)
	-$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report

# --- checks ---------------------------------------------------------------------------------------------------------

check: lint format-check types imports

lint: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff check

format-check: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff format --check

types: $(VENV)/.stamp-dev
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

imports: $(VENV)/.stamp-dev
	$(VENV)/bin/lint-imports

fmt: $(VENV)/.stamp-dev
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

# --- upkeep ---------------------------------------------------------------------------------------------------------
# `make requirements` keeps the versions that still fit; `make upgrade` takes the newest.

requirements: $(VENV)/bin/python
	$(VENV)/bin/python $(PIP_INSTALL) "uv>=0.9"
	$(COMPILE) $(COMPILE_ARGS) pyproject.toml requirements/sa21.in --all-extras --group test --group lint -o requirements/dev.txt
	$(COMPILE) $(COMPILE_ARGS) pyproject.toml requirements/sa20.in --all-extras --group test -o requirements/dev-sa20.txt
	$(COMPILE) $(COMPILE_ARGS) pyproject.toml requirements/sa21.in --extra demo -c requirements/dev.txt --no-annotate -o requirements/demo.txt
	$(COMPILE) $(COMPILE_ARGS) pyproject.toml requirements/sa21.in --extra redis --extra lmdb --extra fastapi --group example -c requirements/dev.txt --no-annotate -o requirements/example.txt

upgrade:
	$(MAKE) requirements COMPILE_ARGS=--upgrade

changelog: $(VENV)/.stamp-dev
	$(VENV)/bin/towncrier build --draft

clean:
	rm -rf $(VENV) $(VENV20) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
