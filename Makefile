# Two commands: `make demo` and `make test`. Both set up .venv first. A third
# tries another Python and the newest packages that it gets, in minutes:
#   make quick PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
QUICK := configs data export loop model options steps
SMALL := cifar_macro cifar_micro nasbench201 ptb_recurrent

.PHONY: demo test quick lint

demo: $(VENV)/demo
	$(BIN)/python -m enas_jax.main --config=configs/digits_micro.py \
	  --workdir=runs/digits_micro

test: $(VENV)/test
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile \
	  --no-loadscope-reorder

# Some tests, and a search of each space in small, into a folder that goes.
quick: $(VENV)/test
	$(BIN)/python -m pytest $(QUICK:%=tests/test_%.py)
	export JAX_DISABLE_MOST_OPTIMIZATIONS=true folder=$$(mktemp -d) && \
	trap 'rm -r "$$folder"' EXIT && \
	for name in $(SMALL); do \
	  $(BIN)/python -m enas_jax.main --config=$$name:smoke \
	    --workdir="$$folder/$$name" || exit; \
	done

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "enas_jax needs Python 3.11 or later, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: setup.cfg | $(BIN)/python
	@echo "Installing into $(VENV): about 1 GB, a minute or two."
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/test: setup.cfg | $(BIN)/python
	@echo "Installing into $(VENV): about 1 GB, a minute or two."
	$(PIP) --editable '.[demo,test]'
	@touch $@
