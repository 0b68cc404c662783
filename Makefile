# Everything here works from a clean checkout on Debian with python3 and make; `make` alone tells what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# It is there while the native core is missing for want of Rust; Rust that comes later builds it.
WITHOUT_RUST := $(VENV)/.installed-without-rust
CARGO := $(shell command -v cargo)
# Every file is compared with its hash; what the project asks for stands in the pins, whole.
QUIET := install --quiet --disable-pip-version-check --no-deps
PINS := .constraints/build.txt .constraints/test.txt
TOOLS := .cache/tools

# Tests start hundreds of processes: none may compile again what another has compiled.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: again help install parts test lint demo loadtest stress bench chaos hostile containers fresh screenshot constraints sbom pip-audit clean

help:  ## tell what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

install: $(STAMP)  ## make .venv with the package and what tests need

$(STAMP): pyproject.toml $(PINS) $(wildcard native/*.* native/src/*.rs) $(if $(CARGO),$(if $(wildcard $(WITHOUT_RUST)),again))
	@tests/parts/venv.sh $(VENV)
	@$(BIN)/python -m pip $(QUIET) --require-hashes $(PINS:%=-r %)
	@$(BIN)/python -m pip $(QUIET) --no-build-isolation -e .
	@$(BIN)/python -c 'from exporter.core import is_installed as i; i() or print("the native core is not built: Rust (cargo) is not here, Python does its work")'
	@$(if $(CARGO),rm -f,touch) $(WITHOUT_RUST)
	@touch $@

parts: install
	@tests/parts/install.sh
	@$(BIN)/python -m tests.support.archive

test: install parts  ## run the tests, with real Kafka, Redis and Prometheus (ARGS='-k word' to choose)
	@$(BIN)/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install  ## ruff, mypy and clippy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@native/lint.sh

demo: install  ## broker, collectors and sidecar in one command (ARGS='--seconds 30')
	@$(BIN)/marketdata-exporter demo $(ARGS)

loadtest: install  ## load a broker and a sidecar in one process for 20 s, and report (ARGS='--users 20')
	@mkdir -p .cache/loadtest
	@$(BIN)/marketdata-exporter loadtest smoke --embedded --duration 20s --report-folder .cache/loadtest $(ARGS)

stress: install parts  ## load tests that take minutes: find where a slow sidecar breaks
	@$(BIN)/python -m pytest -m stress $(ARGS)

bench: install parts  ## measure against the figures to reach (ARGS=peers: beside programs of others, which it installs)
	@$(if $(filter peers,$(ARGS)),tests/parts/peers.sh)
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: install parts  ## directed faults, then faults at random for 30 minutes (ARGS='--seconds 300 --seed 7')
	@$(BIN)/python -m pytest -m chaos
	@$(BIN)/python -m tests.chaos $(ARGS)

hostile: install parts  ## attack a sidecar that reads at full rate, and a table of what others notice (ARGS='-k readers')
	@$(BIN)/python -m pytest -m hostile $(ARGS)

containers: install  ## build and run the image and the compose file, in a container engine in a folder (wants root)
	@tests/parts/containers.sh
	@$(BIN)/python -m pytest -m containers $(ARGS)

screenshot: install parts  ## take the picture of the page in docs/page.png again, from a demo
	@fc-list | grep -q Inter || tests/parts/debian.sh fonts-inter
	@$(BIN)/python -m tests.screenshot

fresh:  ## both commands of the README on a Debian with nothing but python3 and make, in a folder (wants root)
	@tests/parts/fresh.sh $(ARGS)

$(TOOLS)/.installed: .constraints/tools.txt
	@tests/parts/venv.sh $(TOOLS)
	@$(TOOLS)/bin/python -m pip $(QUIET) --require-hashes -r $<
	@touch $@

constraints: $(TOOLS)/.installed  ## pin what pyproject.toml asks for, with hashes (ARGS=--upgrade to move the pins)
	@.constraints/compile.sh $(ARGS)

sbom: $(TOOLS)/.installed  ## write the bill of materials of what is shipped: dist/sbom.cdx.json
	@.constraints/sbom.sh dist/sbom.cdx.json

pip-audit: $(TOOLS)/.installed  ## look for known vulnerabilities in what is shipped; exit 3 when there is no data
	@$(TOOLS)/bin/python .constraints/audit.py .constraints/runtime.txt
	@$(TOOLS)/bin/python .constraints/audit.py .constraints/risk.txt

clean:  ## remove .venv and caches
	@rm -rf $(VENV) .cache build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
