# Each target sets up .venv the first time and reuses it afterwards.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/demo

.PHONY: demo test failed check clean

demo: .venv/installed
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
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); timesformer needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
