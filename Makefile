# Two commands do everything on a fresh machine with Python >= 3.11:
#   make demo    set up, then train on 5,000 real images that ship inside a package
#   make test    set up, then run all tests
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
PYTEST ?= -q
SAMPLE ?= 40
PAPERS ?=
SITE ?= site
MINUTES ?= 60
SECONDS_EACH ?= 60
PINS := pyproject.toml setup.py constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check
LIST := sed -u -n -e 's/^Collecting \([^ ]*\).*/  \1/p' -e '/ERROR/p' -e '/WARNING: Retrying/p'

.PHONY: help demo test slow soak fuzz mutation bench papers docs lint format typecheck wheel clean

help:
	@sed -n 's/^#\(  .*\)/\1/p' Makefile
	@echo "  make bench | papers | slow | soak | fuzz | mutation | docs | lint | format | typecheck | wheel | clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Expected Python >= 3.11. Got " + sys.version.split()[0] + ". Set PYTHON=python3.x")'
	@echo "== creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras. It is newer than the pins once these are installed, so later calls start at once.
$(VENV)/.installed-%: $(PINS) | $(BIN)/python
	@echo "== installing sparsecore[$*] and pinned dependencies into $(VENV) (minutes the first time)"
	@$(PIP) install -c constraints.txt setuptools wheel | $(LIST)
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[$*]' | $(LIST)
	@touch $@

demo: $(VENV)/.installed-demo
	@$(BIN)/sparsecore demo --out $(DEMO) --force

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(PYTEST)

slow: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(PYTEST) -m slow

# Memory, link counts and a dense twin over a long training. make soak MINUTES=20
soak: $(VENV)/.installed-dev
	@$(BIN)/python tests/soak/soak.py --minutes $(MINUTES)

# Coverage leads the fuzzing tests. make fuzz SECONDS_EACH=300 gives each of them five minutes
fuzz: $(VENV)/.installed-dev $(VENV)/.installed-fuzz
	@$(BIN)/python tests/fuzz/guided.py --seconds $(SECONDS_EACH)

# The peers are optional: one that does not install here is named on the page. sparseprop is compiled with what is in PATH.
$(VENV)/.installed-peers: $(PINS) | $(VENV)/.installed-dev
	@echo "== installing the libraries to compare with"
	@$(PIP) install -c constraints.txt pybind11 | $(LIST)
	@for peer in sparselab sparseprop; do \
	  PATH="$(abspath $(BIN)):$$PATH" $(PIP) install -c constraints.txt --no-build-isolation $$peer | $(LIST) \
	  || echo "  $$peer does not install here"; done
	@touch $@

# All suites take about a quarter of an hour; rows that still hold are kept. make bench SUITES="step memory" AGAIN=--again
bench: $(VENV)/.installed-dev $(VENV)/.installed-peers
	@$(BIN)/python -m sparsecore.bench.run $(SUITES) $(AGAIN)

# Small faults are put into a copy of the source, and the tests have to notice. make mutation SAMPLE=200
$(VENV)/.installed-mutation: $(PINS) | $(VENV)/.installed-dev
	@$(PIP) install -c constraints.txt cosmic-ray | $(LIST)
	@touch $@

mutation: $(VENV)/.installed-dev $(VENV)/.installed-mutation
	@$(BIN)/python tests/mutation/run.py --sample $(SAMPLE)

# Days of processor time in all: it takes up what is missing, and can be stopped and started at will.
papers: $(VENV)/.installed-dev
	@$(BIN)/python -m sparsecore.bench.papers mlp $(PAPERS)
	@$(BIN)/python -m sparsecore.bench.papers page

# The site, API reference included, into site/. Warnings are errors; nothing is downloaded.
docs: $(VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(SITE)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# mypy reads folders, so the tree is shown to it as it is installed: models/ and bench/ below sparsecore.
typecheck: $(VENV)/.installed-dev
	@rm -rf build/typecheck && mkdir -p build/typecheck/sparsecore
	@ln -s "$(CURDIR)"/sparsecore/* "$(CURDIR)"/models "$(CURDIR)"/bench build/typecheck/sparsecore/
	@cd build/typecheck && "$(abspath $(BIN))/mypy" --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p sparsecore

wheel: $(VENV)/.installed-dev
	@$(BIN)/python -m build --no-isolation --outdir dist .

clean:
	rm -rf build dist runs site *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
