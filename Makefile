# The README's commands. Each stands on `make setup`, which makes .venv and installs requirements.lock.

SHELL := /bin/bash
VENV  := .venv
PY    := $(VENV)/bin/python
SHELL_FILES := $(wildcard .ci/run launchers/*.sh tests/cluster/kit/*.sh tests/browser/*.sh)

# Without byte code Ray starts three times slower; some shells and images forbid writing it.
unexport PYTHONDONTWRITEBYTECODE

# The checkout is not installed: a .pth file makes `import sweep` and `python -m sweep` work from any folder, and leaves
# Hydra's plugin where Hydra looks for it (an editable install would not). Next to it, the command `sweep`.
define INSTALL_CHECKOUT
import pathlib, shlex, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "sweep-checkout.pth").write_text(f"{pathlib.Path.cwd()}\n")
command = pathlib.Path(sysconfig.get_path("scripts"), "sweep")
command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m sweep "$$@"\n')
command.chmod(0o755)
endef
export INSTALL_CHECKOUT

.PHONY: help setup dev sweep test browser-test cluster-build cluster-test faults check bench bench-peers bench-cluster pictures docs lock wheel clean

help:          ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup: $(VENV)/.installed  ## make .venv (Python 3.11 to 3.13): what running needs, and the command `sweep`

dev: $(VENV)/.dev-installed  ## the same, and what tests and checks need

$(VENV)/.installed: requirements.lock
	@if [ -L $(VENV) ]; then \
	  echo "$(VENV) is a link to $$(readlink $(VENV)), which setup would empty: remove the link, then make setup" >&2; \
	  exit 2; \
	fi
	@python=""; \
	for candidate in python3.13 python3.12 python3.11 python3; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
	  then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "sweep needs Python 3.11, 3.12 or 3.13 with venv, and none is on PATH: install one (for example apt-get install python3.11-venv)" >&2; \
	  exit 2; \
	fi; \
	"$$python" -m venv --clear $(VENV)
	@echo "Fetching about 340 MB of locked packages into $(VENV) (one to a few minutes) ..."
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -c "$$INSTALL_CHECKOUT"
	@touch $@

$(VENV)/.dev-installed: requirements-dev.lock $(VENV)/.installed
	@echo "Fetching about 190 MB of locked packages for tests and checks into $(VENV) ..."
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

sweep: setup   ## run +experiment=ds_r1_grid on predictions
	$(PY) -m sweep +experiment=ds_r1_grid

test: dev    ## the whole test suite, the fast ones first
	$(PY) -m pytest

browser-test: dev  ## tests of the HTML page in headless Chromium, which is installed where it is missing
	tests/browser/install.sh
	CI=true $(PY) -m pytest tests/browser

cluster-build:  ## build what cluster-test needs with Go, at low priority
	nice -n 19 tests/cluster/kit/build.sh

cluster-test: dev  ## tests against a real Kubernetes control plane, Kueue and node; builds them where cluster-build did not
	tests/cluster/kit/install.sh
	CONTROL_PLANE_BIN="$$(tests/cluster/kit/build.sh)" && export CONTROL_PLANE_BIN && \
	  CI=true $(PY) -m pytest tests/cluster

SEEDS ?= 20
BACKEND ?= simulated
faults: dev  ## kill sweeps at every instant: nothing lost, doubled or left; SEEDS=20 BACKEND=simulated|cluster|both
	@if [ "$(BACKEND)" = simulated ]; then exec $(PY) -m tests.faults --seeds $(SEEDS); fi; \
	  CONTROL_PLANE_BIN="$$(tests/cluster/kit/build.sh)" && export CONTROL_PLANE_BIN && \
	  exec $(PY) -m tests.faults --seeds $(SEEDS) --backend $(BACKEND)

check: dev   ## lint, format, types, direction of imports, shell files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/shellcheck $(SHELL_FILES)

bench: dev   ## what it costs here (matrix, parsing, table, command line, overhead, page, questions), and how good the answers are
	$(PY) -m tests.benchmarks.matrix
	$(PY) -m tests.benchmarks.parsing
	$(PY) -m tests.benchmarks.table
	$(PY) -m tests.benchmarks.grid
	$(PY) -m tests.benchmarks.overhead
	$(PY) -m tests.benchmarks.html
	$(PY) -m tests.benchmarks.accuracy
	$(PY) -m tests.benchmarks.analysis

bench-peers: dev  ## the same overhead beside Ray Tune and Hydra's launchers (installs them into a venv of its own)
	$(PY) -m tests.benchmarks.overhead --peers

bench-cluster: dev  ## 200 deployments on the fake nodes: CPU, memory, requests, time to a row
	CONTROL_PLANE_BIN="$$(tests/cluster/kit/build.sh)" && export CONTROL_PLANE_BIN && $(PY) -m tests.benchmarks.cluster

pictures: dev  ## regenerate docs/pictures from ds_r1_grid on predictions and from the published numbers
	$(PY) -m sweep +experiment=ds_r1_grid
	$(PY) -m docs.draw results/ds_r1_grid docs/pictures

docs: dev    ## regenerate results/README.md from the table's schema
	$(PY) -m sweep.table > results/README.md

lock:          ## resolve pyproject.toml into requirements.lock and requirements-dev.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra predict pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --group dev -c requirements.lock -o requirements-dev.lock

wheel: dev   ## build dist/sweep-*.whl
	$(PY) -m build --wheel --no-isolation

clean:         ## remove what was built; .venv and results stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
