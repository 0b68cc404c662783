# Everything here works from a clean checkout on Debian with python3 and make; `make` alone tells what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS := .constraints/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install parts test lint demo bench chaos clean

help:  ## tell what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

install: $(STAMP)  ## make .venv with the package and what tests need

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@tests/parts/venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test]'
	@touch $@

parts:
	@tests/parts/install.sh

test: install parts  ## run the tests, with real Kafka, Redis and Prometheus (ARGS='-k word' to choose)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install  ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

demo: install  ## broker, collectors and sidecar in one command (ARGS='--seconds 30')
	@$(BIN)/marketdata-exporter demo $(ARGS)

bench: install parts  ## measure against the figures to reach
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: install parts  ## directed faults, then faults at random for 30 minutes (ARGS='--seconds 300 --seed 7')
	@$(BIN)/python -m pytest -m chaos
	@$(BIN)/python -m tests.chaos $(ARGS)

clean:  ## remove .venv and caches
	@rm -rf $(VENV) .cache build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
