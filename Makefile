# The two commands of the README, and the parts they are made of.
# Everything runs from .venv, which `setup.sh` makes and keeps up to date; a second run finds nothing to do.

MUSLIN := .venv/bin/muslin

.PHONY: demo test lint unit live setup clean

demo: setup ## bring up the demo cluster, verify it with real packets, write the report
	$(MUSLIN) verify scenarios/three-tier-shop.yaml --report report

test: setup ## everything CI runs: lint, types, unit and live tests
	.venv/bin/tox

lint unit live: setup ## one part of it
	.venv/bin/tox -e $@

setup:
	@./setup.sh

clean: ## remove what the commands above made in this folder
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache report build dist *.egg-info
