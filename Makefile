# Every target starts from nothing: it makes .venv and installs into it what is needed. `make PYTHON=python3.13 …`
# picks the Python of a new .venv, `make VENV=elsewhere …` its folder.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
VENV_PYTHON := $(VENV)/bin/python

PACKAGE := pyproject.toml README.md LICENSE pytest_autoaccel.py $(shell find autoaccel -name '*.py' -o -name '*.[ch]' -o -name py.typed)

# pip install with the package, once for each change of it; $(1) is a dependency group.
define install
$(VENV_PYTHON) -m pip install --quiet --group $(1) .
@touch $@
endef

.DELETE_ON_ERROR:
.PHONY: demo test lint bench clean

demo: $(VENV)/examples-installed ## import every example, show results and times
	$(VENV_PYTHON) examples/demo.py

test: $(VENV)/test-installed ## the whole test suite; ARGS='-m core' narrows it down
	$(VENV_PYTHON) -m pytest -n auto $(ARGS)

lint: $(VENV)/lint-installed ## ruff and mypy
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

bench: $(VENV)/bench-installed ## a short run of the benchmarks; docs/benchmarks.md has the long one
	$(VENV_PYTHON) benchmarks/run.py --quick

clean: ## remove what these targets and the tools made; the cache of your own modules stays
	rm -rf $(VENV) .venvs build dist .mypy_cache .pytest_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/%-installed: $(PACKAGE) | $(VENV_PYTHON)
	$(call install,$*)

$(VENV_PYTHON):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'autoaccel needs Python 3.11 or newer: install one, or name it: make PYTHON=/path/to/python3 …' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) has no venv module: apt-get install python3-venv (Debian, Ubuntu)' >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --upgrade 'pip>=25.1' # dependency groups
