# Each target sets up .venv the first time and reuses it afterwards.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
RUN ?= runs/demo

.PHONY: demo test failed check clean

demo: .venv/installed-base
	$(BIN)/timesformer demo --out $(RUN)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The tests that failed last time, one after another.
failed: .venv/installed
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv

# torch first and pinned, so that nothing that depends on it pulls in another build.
.venv/installed-base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); timesformer needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt -e .
	touch $@

# All extras, and what tests and checks need.
.venv/installed: .venv/installed-base
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@
