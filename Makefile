# Everything a newcomer or CI does. Needs make, Python 3.11 or newer, and the package registries.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean
SHELL := /bin/sh

VENV := .venv
# make PYTHON=… names the Python that makes the environment.
RUN := $(VENV)/bin/python
#: says for which pyproject.toml the environment was made
STAMP := $(VENV)/.installed
#: given to pytest, e.g. make test ARGS="-k recorder -x"
ARGS :=
# Tests mostly wait for services: four at a time keep two cores busy. A file stays together, for what its tests share.
TOGETHER := --numprocesses 4 --dist loadfile

help: ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP) ## see it work: a worker, beat, recorder and site of its own
	@$(RUN) -m taskledger demo $(ARGS)

test: $(STAMP) ## run the tests, on the services that are there
	@$(RUN) -m pytest $(TOGETHER) $(ARGS)

check: $(STAMP) ## all that CI runs: lint, format, types, directions, tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) -m pytest $(TOGETHER) $(ARGS)

bench: $(STAMP) ## measure: events a second beside Flower, bytes a task, time to the commit, what redaction, a rebuild and the import cost
	@sh scripts/install $(VENV) bench
	$(RUN) benchmarks/throughput.py $(ARGS)
	$(RUN) benchmarks/pace.py
	$(RUN) benchmarks/redaction.py
	$(RUN) benchmarks/rebuild.py --tasks 20000
	$(RUN) benchmarks/schedules.py --days 20
	$(RUN) benchmarks/train_dictionary.py
	$(RUN) benchmarks/import_cost.py

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml scripts/install
	@sh scripts/install $(VENV)
	@touch $@
