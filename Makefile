# Gantry: `make` alone lists what there is to make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test unit check bench docs tools viewer pins clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime viewer ## Start the whole archive here, in the foreground
	@$(BIN)/gantry up

test: $(VENV)/.dev tools viewer ## Run every test, and say which tools were absent
	@PATH="$$PATH:$$(sh tests/install_tools.sh --path)" $(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.dev ## Run the unit tests alone: seconds, no network
	@$(BIN)/pytest -q tests/unit -m "not corpus"

check: $(VENV)/.dev ## Check style, types and the import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && PATH="$(abspath $(BIN)):$$PATH" $(BIN)/lint-imports

bench: $(VENV)/.bench ## Measure against Orthanc, DCMTK and pynetdicom (QUICK=1 for a look, ROWS=a,b, PUBLISH=1)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ROWS),--rows $(ROWS)) $(if $(PUBLISH),--publish)

docs: $(VENV)/.runtime ## Make the tables in the documents anew from the code
	@$(BIN)/python -m docs.generate

tools: ## Install the tools that the tests drive (as root), or say how to
	@sh tests/install_tools.sh

viewer: $(VENV)/.runtime ## Fetch the OHIF viewer where npm is, or say how to add it
	@$(BIN)/python deploy/viewer/install.py $(VENV)/share/gantry/viewer

pins: ## Resolve the pinned requirements anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra bench -c requirements/runtime.txt pyproject.toml -o requirements/bench.txt

clean: ## Remove what make installed here; no archive's data
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Gantry into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "installing the test tools into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime requirements/bench.txt
	@echo "installing what pynetdicom's qrscp needs into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@
