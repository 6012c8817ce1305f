# The two commands of the README, and what .ci/run adds. Needs Python 3.11 or newer, nothing else.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 6
IN ?= demo/inbox
OUT ?= demo/blurred
BIN := $(VENV)/bin

# A file's tests run on one worker, since they share what is costly to make; files in their order: the long ones first.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations 10

# Tests start hundreds of processes, which would compile all of it again each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-all coverage lint build wheel-test audit sbom clean

run: $(VENV)/.installed  ## start the daemon on IN -> OUT (a sample photo is in the demo's inbox)
	@mkdir -p "$(IN)" "$(OUT)"
	@if [ "$(IN)" = demo/inbox ]; then cp -n demo/astronaut.jpg demo/inbox/ || true; fi
	@echo "Drop photos into $(IN); they come out blurred in $(OUT). Ctrl-C stops."
	@FACEBLURD_STATE_DIR="$${FACEBLURD_STATE_DIR:-demo/state}" $(BIN)/faceblurd run --watch "$(IN)" --to "$(OUT)"

test: $(VENV)/.installed-dev  ## all but the long ones, JOBS at a time (more than cores: most of them wait)
	$(PYTEST) -m "not slow"

test-all: test  ## every test: those of `test`, then the long ones
	$(PYTEST) -m slow

coverage: export PYTHONPATH = $(CURDIR)/tests/measuring
coverage: $(VENV)/.installed-dev  ## every test, one after the other, measured, sandboxed workers too; the rooms that promises hang on must be covered
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
	$(BIN)/coverage json -q -o .coverage.json
	$(BIN)/python tests/measuring/rooms.py .coverage.json

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

build: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build

wheel-test: build  ## the wheel in an empty venv, on a photo
	rm -rf build/wheel-venv build/wheel-out
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/pip install -q -c constraints.txt dist/faceblurd-*.whl
	build/wheel-venv/bin/faceblurd blur demo/astronaut.jpg --to build/wheel-out --json
	test -s build/wheel-out/astronaut.jpg

audit: build/audit-venv/.installed  ## the pins against the known vulnerabilities (asks PyPI; fails when it cannot tell)
	build/audit-venv/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

sbom: build/audit-venv/.installed $(VENV)/.installed  ## a bill of materials of what is installed in the venv
	build/audit-venv/bin/cyclonedx-py environment --pyproject pyproject.toml --of JSON -o build/sbom.json $(BIN)/python

build/audit-venv/.installed:
	$(PYTHON) -m venv build/audit-venv
	build/audit-venv/bin/pip install -q pip-audit cyclonedx-bom
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py $(wildcard faceblurd/imaging/files/jpeg/*.c)
	@$(PYTHON) -c 'import sys; sys.exit("faceblurd needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,heif,tensorflow,preview]'
	@touch $@

clean:
	rm -rf $(VENV) build dist demo/inbox demo/blurred demo/state
