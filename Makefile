# Everything a newcomer or CI does. Needs make, Python 3.11 or newer, and the package registries.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean
SHELL := /bin/sh

VENV := .venv
PYTHON := $(VENV)/bin/python
#: says for which pyproject.toml the environment was made
STAMP := $(VENV)/.installed
#: given to pytest, e.g. make test ARGS="-k recorder -x"
ARGS :=

help: ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP) ## see it work: a worker, beat, recorder and site of its own
	@$(PYTHON) -m taskledger demo $(ARGS)

test: $(STAMP) ## run the tests, on the services that are there
	@$(PYTHON) -m pytest $(ARGS)

check: $(STAMP) ## all that CI runs: lint, format, types, directions, tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports
	$(PYTHON) -m pytest $(ARGS)

bench: $(STAMP) ## measure: what the command line costs each start of celery
	@for file in benchmarks/*.py; do $(PYTHON) "$$file" || exit 1; done

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml scripts/install
	@sh scripts/install $(VENV)
	@touch $@
