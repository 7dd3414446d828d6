# The only place for developer commands; `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { echo "make: PYTHON=$(PYTHON) is neither Python 3.11 nor 3.12; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@begun=$$(date +%s); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' && \
	echo "installed in $$(( $$(date +%s) - begun )) s"
	@touch $@

setup: $(INSTALLED)  ## create .venv and install

demo: setup  ## simulate a drifting stream, pre-train, replay it, print what adaptation gains
	$(BIN)/dynmm demo

test: setup  ## run all tests, a file at a time on each of two processes, every one with a broker of its own
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

soak: setup  ## kill flows at every named point three times, then at random; write benchmarks/results/soak.json
	DYNMM_SOAK=1 $(BIN)/python -m pytest tests/crash tests/live tests/flows/test_seen.py tests/golden tests/replay/test_real_data.py
	$(BIN)/python tests/soak/soak.py --out benchmarks/results/soak.json

lint: setup  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove the environment and caches; runs and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
