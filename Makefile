# What a developer does, each by one command. Every target first sets up what it needs in .venv.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SOURCES := sennit runtime ledger samples benchmarks tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# Tools that read constraints.txt, and are no part of what it pins.
TOOLS := .tools
FAULTS := api.osv.dev
# An interpreter of your own: make PYTHON=/path/to/python test
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
# Two processes: the smallest machine that this is built on has two cores.
TEST_PROCESSES ?= 2
# These count for coverage. Other simulations and real processes would reach lines by luck, slowly.
MEASURED := tests/runtime tests/ledger tests/conformance tests/samples tests/benchmarks \
	tests/simulation/test_simulation.py tests/e2e/test_ledger_command.py

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-crash check format mutants bench clean

help:  ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED)  ## Set up .venv with the pinned dependencies (all other targets do it too)

demo: $(INSTALLED)  ## Four nodes trade cash for commercial paper; one of them is killed on the way
	@$(BIN)/python -m samples.trade

test: check  ## Everything that a change must pass: check, all tests but the long crash matrix, coverage
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) $(addprefix --ignore=,$(MEASURED))
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --cov --cov-report= $(MEASURED)
	@$(BIN)/coverage report --include='runtime/core/*' --fail-under=100

test-crash: $(INSTALLED)  ## The whole crash matrix: each process killed at each of its commits in turn
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m crash

check: $(INSTALLED)  ## Format, lint, spelling, types, layers
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/codespell
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(INSTALLED)  ## Put the code into its one format, and mend what can be mended
	@$(BIN)/ruff check --fix --quiet $(SOURCES) || true
	@$(BIN)/ruff format $(SOURCES)

mutants: $(INSTALLED)  ## Plant faults in the code and print those that no test notices (HUNT="--count 200 runtime")
	@$(BIN)/python -m tests.mutation.hunt $(HUNT)

bench: $(INSTALLED)  ## Measure; the figures go to standard output as a table
	@$(BIN)/python -m benchmarks

pins: $(INSTALLED)  ## Pin the dependencies anew in constraints.txt, with their hashes; needs the network
	@test -x $(TOOLS)/bin/uv || { $(BIN)/python -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet uv; }
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| $(TOOLS)/bin/uv pip compile --quiet --upgrade --generate-hashes --no-strip-extras --no-annotate --no-header \
			--python-version 3.11 --extra dev --output-file .pins setup.cfg -
	@{ sed -n '/^#/p' constraints.txt; cat .pins; } > .pins.new && mv .pins.new constraints.txt && rm .pins

audit: $(INSTALLED)  ## Look for known faults of the pinned dependencies; needs the network
	@if ! $(BIN)/python -c 'import socket; socket.create_connection(("$(FAULTS)", 443), 10)' 2>/dev/null; then \
		echo "audit: the list of known faults at $(FAULTS) can't be reached; nothing was checked"; \
	elif ! { test -x $(TOOLS)/bin/pip-audit \
		|| { $(BIN)/python -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet pip-audit; }; }; then \
		echo "audit: pip-audit can't be installed; nothing was checked"; \
	else \
		$(TOOLS)/bin/pip-audit --vulnerability-service osv --disable-pip --require-hashes -r constraints.txt; \
	fi

clean:  ## Remove .venv and everything that was generated
	@rm -rf $(VENV) $(TOOLS) .demo build dist htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .mutation \
		.hypothesis .import_linter_cache *.egg-info
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null \
		|| { echo "No Python found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is `"$(PYTHON)" -V 2>&1`; Sennit needs Python 3.11 or newer." \
			"Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute)"
	@"$(PYTHON)" -m venv $(VENV) \
		|| { echo "Can't make a virtual environment; on Debian and Ubuntu: apt install python3.11-venv"; \
			rm -rf $(VENV); exit 1; }
	@$(PIP) --require-hashes -r constraints.txt > $(VENV)/install.log 2>&1 \
		|| { cat $(VENV)/install.log; \
			echo "The dependencies could not be installed; the reason stands above."; exit 1; }
	@$(PIP) --no-deps --no-build-isolation -e . > $(VENV)/install.log 2>&1 \
		|| { cat $(VENV)/install.log; \
			echo "Sennit itself could not be installed; the reason stands above."; exit 1; }
	@touch $@
