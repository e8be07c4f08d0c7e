# Two commands: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint

demo: .venv/demo
	$(BIN)/python -m enas_jax.main --config=configs/digits_micro.py \
	  --workdir=runs/digits_micro

test: .venv/test
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile \
	  --no-loadscope-reorder

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "enas_jax needs Python 3.11 or later, this is " + sys.version)'
	$(PYTHON) -m venv .venv

.venv/demo: setup.cfg | .venv/bin/python
	@echo "Installing into .venv: about 1 GB, a minute or two."
	$(PIP) --editable '.[demo]'
	@touch $@

.venv/test: setup.cfg | .venv/bin/python
	@echo "Installing into .venv: about 1 GB, a minute or two."
	$(PIP) --editable '.[demo,test]'
	@touch $@
