# Two targets that do all the set-up themselves: `make demo` and `make test`.
# They need python3.11 (or newer), pip and make, and nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
BARE := .venv-bare
# pip must never fetch torch's newest CUDA build (5 GB) when a CPU wheel of the pinned version is
# at hand, so every install is held to the pins.
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt lotlens/version.py

.DEFAULT_GOAL := help
.PHONY: help demo test lint types layers check browser postgres clean

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.train ## Install, then the whole way on the sample lot: draw, train, judge, submit.
	$(BIN)/lotlens demo

test: lint types layers check ## Install with dev tools; ruff, mypy, import-linter and all tests.

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# Three processes, each with whole files of tests and one thread of OpenMP: threads of several would
# wait for each other, and some tests wait for programs that they start. Runs that tests only read are
# made once for all. A plain `python -m pytest` runs the tests one after another.
check: $(VENV)/.dev $(BARE)/.done browser postgres
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile

# The report is tested in a real browser: Debian's own, which Playwright drives; it downloads none.
# Elsewhere the tests take what is there, and skip without one; with CI=true they fail then.
browser: ## Install Chromium for the report's tests: on Debian as root, if there is none yet.
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release; then \
		echo "installing Chromium for the report's tests"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends chromium fonts-dejavu-core >/dev/null || \
			echo "Chromium could not be installed"; \
	fi

# The desk's memory is tested in a real server too, which the tests start and end themselves, under
# the user that the package brings. As above: elsewhere they skip; on Debian as root with CI=true they
# fail without one.
postgres: ## Install PostgreSQL for the desk's tests: on Debian as root, if there is none yet.
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release; then \
		echo "installing PostgreSQL for the desk's tests"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends postgresql >/dev/null || \
			echo "PostgreSQL could not be installed"; \
	fi

clean: ## Remove the virtual environment and what tools leave behind.
	rm -rf $(VENV) $(BARE) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis demo

$(VENV)/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lotlens needs Python 3.11 or newer; name it with  make PYTHON=/path/to/python3.11"; exit 1; }
	@# Without python3-venv Debian's leaves half an environment, which the next make would take for one.
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.train: $(VENV)/bin/python $(SOURCES)
	@echo "installing lotlens and PyTorch into $(VENV), about two minutes"
	$(BIN)/python $(INSTALL) --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	@echo "installing lotlens, PyTorch and the tools of its tests into $(VENV), about three minutes"
	$(BIN)/python $(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.train

# What users get who only answer: no extras, no torch. tests/test_bare.py runs its commands.
$(BARE)/.done: $(SOURCES)
	"$(PYTHON)" -m venv $(BARE)
	$(BARE)/bin/python $(INSTALL) --editable .
	@touch $@
