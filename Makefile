# The front door. The first use of any target below makes .venv and installs toolchat into it, which takes
# make, Python 3.11 or newer and a package index (scripts/install.py says what is missing, in one line).
#
## make demo       ask the built-in demo model a question that needs a Python function
## make test       the fast tests
## make test-quick those of them that need no process, no terminal and no engine: a minute
## make test-all   every test, also the slow ones
## make lint       ruff, mypy, the direction of imports and the table of settings
## make bench      the measured claims, each with its table
## make docs       the table of settings and the picture of the REPL that the documents show (from a recorded chat)
## make install    only make .venv
## make pins       take the newest versions there are into .venv, and write them into constraints/
## make pins-cuda  the same for CUDA and each Python, by resolving and without installing (takes uv)
## make check-cuda try vLLM's CUDA build, without a GPU, in an environment that is deleted again (10 GB)
## make check-mistral  the tests that mistral_common has a part in, with its next version (1.13)
## make clean      remove .venv, caches and build output
##
## PYTHON=python3.12   make .venv with that Python
## EXTRA=cpu | cuda    install that engine; else cuda where nvidia-smi answers, and cpu elsewhere

PYTHON ?=
EXTRA ?=

BIN := .venv/bin
ENGINE := .venv/.installed-engine
DEV := .venv/.installed-dev
QUESTION := Can you tell me what the temperature will be in Dallas, in fahrenheit?

.PHONY: help install demo test test-quick test-all lint lint-types lint-rest bench docs pins pins-cuda check-cuda check-mistral clean FORCE
.DEFAULT_GOAL := help

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

install: $(ENGINE)

# Always the demo model, so that it is quick on a machine with a GPU too.
demo: $(ENGINE)
	$(BIN)/toolchat ask --model demo --tools tools.yaml "$(QUESTION)"

# Four at a time on two cores: tests of terminals wait for keys, timers and processes. tests/spread.py has the rest.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: $(DEV)
	$(PYTEST) -n 4

# --pure fails a test that starts a process without saying so.
test-quick: $(DEV)
	$(PYTEST) -n 2 --pure -m "not (process or terminal or engine or long or slow or cuda_wheels)"

test-all: $(DEV)
	$(PYTEST) -n 4 -m ""

# Two at once: mypy takes one core for most of the time.
lint: $(DEV)
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint-types lint-rest

# The second: every conftest by its place, since they all have the same name.
lint-types:
	$(BIN)/mypy toolchat scripts tests
	$(BIN)/mypy $$(find tests -name conftest.py | sed 's,^tests/,,; s,/,.,g; s,\.py$$,,; s,^,-m ,')

lint-rest:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/settings_table.py --check

bench: $(DEV)
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/warm_ask.py --server
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/help_time.py
	$(BIN)/python benchmarks/long_line.py
	$(BIN)/python benchmarks/tool_call.py
	$(BIN)/python benchmarks/real_functions.py
	$(BIN)/python benchmarks/untyped_parameters.py
	$(BIN)/python benchmarks/valid_calls.py
	$(BIN)/python benchmarks/valid_calls.py --served both
	$(BIN)/python benchmarks/server.py
	$(BIN)/python benchmarks/prefix_cache.py
	$(BIN)/python benchmarks/first_prompt.py
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/sessions.py

# RECORD=--record has the demo model answer anew, where it or the tools have changed.
docs: $(DEV)
	$(BIN)/python scripts/settings_table.py
	$(BIN)/python scripts/record_repl.py docs/repl.svg docs/repl.jsonl $(RECORD)
	$(BIN)/python scripts/record_desk.py docs/desk.svg

# What is written is what `make` installs from then on: run `make lint test` before it is committed.
pins: $(DEV)
	$(BIN)/python -m pip install --upgrade --upgrade-strategy eager --editable ".[$(firstword $(shell cat .venv/.choice 2>/dev/null)),dev]"
	$(BIN)/python scripts/pins.py $(firstword $(shell cat .venv/.choice 2>/dev/null))

pins-cuda: $(DEV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python scripts/pins.py cuda --python 3.11 3.12 3.13

# KEEP=--keep keeps the environment for the next time.
check-cuda: $(DEV)
	$(BIN)/python scripts/check_cuda.py $(KEEP)

# The extras stay below 1.13, with which vLLM's own server breaks; what toolchat does itself works with both.
MISTRAL := mistral_common>=1.13

check-mistral: $(DEV)
	rm -rf .check-mistral
	cp -al .venv .check-mistral
	.check-mistral/bin/python -m pip install --quiet --no-deps --upgrade "$(MISTRAL)"
	.check-mistral/bin/python -m pytest -n 2 --dist loadfile -p no:cacheprovider tests/mistral tests/chat tests/engine tests/models tests/e2e/test_e2e_valid_calls.py
	rm -rf .check-mistral

clean:
	rm -rf .venv .check-cuda .check-mistral build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Of the Pythons that are new enough, the first that can make a virtual environment, else the last that
# cannot: scripts/install.py then says what it lacks.
define INSTALL
@found=; for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
    "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
    found=$$python; \
    "$$python" -c 'import venv, ensurepip' 2>/dev/null && break; \
done; \
if [ -z "$$found" ]; then \
    echo "make: $(or $(PYTHON),python3) is missing or not Python 3.11 to 3.14: install one (Debian, Ubuntu: apt install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11" >&2; \
    exit 1; \
fi; \
"$$found" scripts/install.py --python "$$found" --extra "$(EXTRA)" $(if $(PYTHON),--exact) $(1)
endef

# What a command line chooses, where it is not what .venv was made with, makes the installation stale.
ifneq ($(filter-out $(shell cat .venv/.choice 2>/dev/null),$(EXTRA) $(PYTHON)),)
$(ENGINE) $(DEV): FORCE
endif

$(ENGINE): pyproject.toml $(wildcard constraints/*)
	$(call INSTALL)

$(DEV): pyproject.toml $(wildcard constraints/*)
	$(call INSTALL,--dev)
