# make demo: environment, install, train, show the most memorized examples, and write a report.
# make check: linters and types beside the fast tests. make test: the same beside all tests, and their coverage.
# make docs: the documentation as a site, in site/.
PYTHON ?= python3
VENV ?= .venv
BIN = "$(VENV)/bin"
# In the names of targets blanks are escaped: VENV may have some.
BLANK = $() $()
INSTALLED = $(subst $(BLANK),\ ,$(VENV))/installed
# Compiled modules are kept, whatever the shell says: many processes of the tests import the same ones. Threads of NumPy and
# PyTorch would compete with those of the other workers. What tests call make for is no part of this one.
PYTEST = MAKEFLAGS= PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: install demo check test fast-tests all-tests lint style types format docs docs-serve clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	"$(PYTHON)" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch "$(VENV)/installed"

demo: install
	$(BIN)/longtail demo

test: install
	$(MAKE) --jobs=3 --no-print-directory style types all-tests

check: install
	$(MAKE) --jobs=3 --no-print-directory style types fast-tests

all-tests: install
	$(PYTEST) --cov --cov-report term --durations 25

fast-tests: install
	$(PYTEST) -m "not slow and not ray and not browser" --hypothesis-profile quick --durations 10 --durations-min 0.5

lint: style types

style: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/package_map.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8000

clean:
	rm -rf "$(VENV)" demo-store demo-report.html site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
