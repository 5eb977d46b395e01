# All that a person or CI needs. `make help` lists it.
# PYTHON: the interpreter that the virtual environments are made from (3.11 or newer).
PYTHON ?= python3
# VIDEO: a video file for `make demo`.
VIDEO ?=
# ARGS: further arguments of pytest, e.g. make test ARGS="tests/core -x" (with "-n0 --pdb": in one process).
ARGS ?=

serving := .venv
development := .venv-dev
checked := $(wildcard stream_app export vigil tests benchmarks)
pip_install = $(1)/bin/python -m pip install --disable-pip-version-check --no-input
uv_compile := $(development)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-build-options \
  --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help demo test soak check bench kafka-up kafka-down lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(serving)/.installed ## play the drawn site through a local Kafka and judge the alerts (VIDEO=path: a video of yours)
	$(serving)/bin/vigil demo $(if $(VIDEO),--video "$(VIDEO)")

test: $(development)/.installed ## run all tests, those on a real Kafka too (ARGS: for pytest)
	$(development)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(development)/.installed ## run the long proofs: recordings of live runs under many faults (ARGS: for pytest)
	$(development)/bin/python -m pytest -m soak $(ARGS)

check: $(development)/.installed ## lint, format, types, import contracts, documents
	$(development)/bin/ruff check .
	$(development)/bin/ruff format --check .
	$(development)/bin/mypy $(checked)
	$(development)/bin/lint-imports
	$(development)/bin/python -m pytest -q tests/test_docs.py

bench: $(development)/.installed ## measure throughput and latency on this machine
	$(development)/bin/python -m benchmarks

kafka-up: $(serving)/.installed ## start a local Kafka and leave it running
	$(serving)/bin/vigil kafka up

kafka-down: $(serving)/.installed ## stop it and remove its data
	$(serving)/bin/vigil kafka down

lock: $(development)/.installed ## write requirements/*.txt anew from pyproject.toml (UPGRADE=1: with the newest versions)
	$(uv_compile) --extra worker --extra replay --extra kafka --group build --output-file requirements/serving.txt
	$(uv_compile) --extra worker --extra replay --extra kafka --extra export --group dev --constraint requirements/serving.txt \
	  --output-file requirements/development.txt

clean: ## remove what make made: environments, caches, the demo's output
	rm -rf $(patsubst %/.installed,%,$(wildcard $(serving)/.installed $(development)/.installed))
	rm -rf .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(checked) -name __pycache__ -prune -exec rm -rf {} +

# An environment is made once and again whenever its lock or the project's metadata changes.
$(serving)/.installed: requirements/serving.txt pyproject.toml
$(development)/.installed: requirements/development.txt pyproject.toml
%/.installed:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else \
	  f"expected Python 3.11 or newer, found {v}: name another one with PYTHON=...")'
	$(PYTHON) -m venv $*
	$(call pip_install,$*) --require-hashes -r $<
	$(call pip_install,$*) --no-deps --no-build-isolation -e .
	@touch $@
