# Each target first installs what is missing (operator/setup.sh), which takes no time if nothing is.
.PHONY: demo test unit lint bench crds setup
BIN := .venv/bin
# Hundreds of processes import the same modules: Python keeps the bytecode, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE
# Thousands of small files are written, synced and removed: in memory, where the machine has such a folder.
MEMORY := $(wildcard /dev/shm)

demo: setup
	@$(BIN)/stromboli demo

test: lint unit
	@$(BIN)/stromboli doctor && $(BIN)/stromboli fetch
	$(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder tests/contract tests/e2e

unit: setup
	$(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/pytest --numprocesses=2 --dist=worksteal tests/unit

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

bench: setup
	$(BIN)/python -m tests.benchmarks

crds: setup
	$(BIN)/python -c 'from pathlib import Path; from stromboli.compose import keys; from stromboli.httpapi import app, openapi; from stromboli.models import crd, reference; crd.write(Path("crds")); reference.write(Path()); keys.write(Path()); openapi.FILE.write_text(openapi.text(app.document()))'

setup:
	@operator/setup.sh
