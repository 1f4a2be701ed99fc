# make demo: environment, install, train, show the most memorized examples, and write a report.
# make check: format, lint, types, fast tests. make test: all tests, and their coverage.
# make docs: the documentation as a site, in site/.
PYTHON ?= python3
VENV ?= .venv
BIN = "$(VENV)/bin"
# In the names of targets blanks are escaped: VENV may have some.
BLANK = $() $()
INSTALLED = $(subst $(BLANK),\ ,$(VENV))/installed
# Compiled modules are kept, whatever the shell says: many processes of the tests import the same ones. NumPy's own
# threads would compete with those of the other worker.
PYTEST = PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: install demo check test lint format docs docs-serve clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	"$(PYTHON)" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch "$(VENV)/installed"

demo: install
	$(BIN)/longtail demo

test: install
	$(PYTEST) --cov --cov-report term --durations 25

check: lint
	$(PYTEST) -m "not slow and not ray and not browser"

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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
