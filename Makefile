# Every target makes its own virtual environment first. Variables can be overridden:
#   make test PYTHON=python3.12 VENV=/tmp/venv
PYTHON ?= python3
VENV ?= .venv
# Pins a known build; any torch>=2.4 works, e.g. one for a GPU: make demo TORCH=torch
TORCH ?= torch==2.13.0
# Test processes; each computes on one thread.
WORKERS ?= 2
# Further extras, which are left out where their packages can't be had: make test EXTRAS="ray dm"
EXTRAS ?=
# The version that `make mujoco4` compares with.
MUJOCO4 ?= 4.0.0
ifndef OUT
OUT := runs/demo-$(shell date +%Y%m%d-%H%M%S)
endif

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SPHINX := $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check  # errors only

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs site links live bench results mujoco4 gl browser clean

help:  ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: $(INSTALLED) gl  ## train the two-goal point-mass skills; figure, video and run record in $(OUT)
	$(BIN)/skill-embed demo --out "$(OUT)"

test: export OMP_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
test: $(INSTALLED) gl browser  ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS)

lint: $(INSTALLED)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED) gl  ## regenerate pages, pictures and films in docs/envs, and the notebook
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/films.py
	$(BIN)/python docs/notebook.py

site: $(INSTALLED)  ## build the documentation into site/, with the live arm where npm is there
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory live || echo "the start page shows a film instead"; fi
	$(SPHINX) -b html docs site
	@echo "see it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site, then http://127.0.0.1:8000/"

links: $(INSTALLED)  ## check the links of the documentation that lead to the web
	$(SPHINX) -b linkcheck docs build/links

live: $(INSTALLED)  ## build the page that runs the skills in a browser, into site/live (needs npm)
	$(BIN)/python docs/live/build.py site/live
	@echo "see it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site, then http://127.0.0.1:8000/live/"

bench: $(INSTALLED)  ## measure; each benchmark writes its numbers to benchmarks/*.json
	@set -e; for script in benchmarks/*.py; do echo "$(BIN)/python $$script"; $(BIN)/python "$$script"; done

results: $(INSTALLED) gl  ## make figures and tables from the kept run records
	$(BIN)/skill-embed report

mujoco4: $(INSTALLED)  ## say how the environments differ on MuJoCo 4
	@rm -rf "$(VENV)/mujoco4" && mkdir "$(VENV)/mujoco4"
	@$(PIP) --no-deps --target "$(VENV)/mujoco4" "mujoco==$(MUJOCO4)" "mujoco-core==$(MUJOCO4)"
	@$(BIN)/python tests/observations.py "$(VENV)/mujoco4/observations.npz"
	@PYTHONPATH="$(VENV)/mujoco4" $(BIN)/python tests/observations.py "$(VENV)/mujoco4/observations.npz"

clean:  ## remove the virtual environment, caches and builds; runs/ stays
	if [ -e "$(INSTALLED)" ]; then rm -rf "$(VENV)"; fi
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -rf docs/live/node_modules site/live
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with PYTHON=python3.11")'
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv "$(VENV)"
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable ".[dev]"
	@for extra in $(EXTRAS); do \
	  $(PIP) --editable ".[$$extra]" || echo "going on without the extra $$extra, which can't be installed here"; \
	done
	@touch $@

# Off-screen rendering needs the system's EGL. This step tries to provide it and never fails.
FRAME := import gymnasium as g, skill_envs as s; e = g.make(next(iter(s.ENVIRONMENTS)), render_mode='rgb_array'); e.reset(); e.render()

gl: $(INSTALLED)
	@frame() { $(BIN)/python -c "$(FRAME)" >/dev/null 2>&1; }; \
	frame && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing libegl1 and libgl1-mesa-dri for off-screen rendering"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libegl1 libgl1-mesa-dri; } >/dev/null 2>&1; \
	fi; \
	frame || echo "off-screen rendering does not work here: install libegl1 and libgl1-mesa-dri (Debian, Ubuntu) or your system's EGL"

# The live page is tested in Chromium. As above: what is missing is installed where that is possible, and a test that
# finds none says that it is skipped.
browser:
	@missing=""; \
	command -v chromium >/dev/null || missing="chromium"; \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $$missing for the tests of the live page"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 180 apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1; \
	fi; true
