# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
#
#   make demo        install without torch, run the demonstration
#   make test        install everything, run the tests that are quick
#   make test-slow   the others: whole builds, servers, packaging
#   make test-browser reports in a real browser, which has to be installed
#   make test-aiperf sweeps of a server with AIPerf, which gets an environment of its own
#   make test-clients   OpenAI's other clients, in an environment of their own
#   make families    train two small models of other families, and report them beside nld-tiny: about 20 minutes
#   make real-size   the shapes of the 8B from random weights to a repository; 36 GB of disk, in REAL_SIZE=build/real-size
#   make lint        ruff and mypy
#   make clean       remove what these made
#
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AIPERF := $(CURDIR)/.venv-aiperf
CLIENTS := .venv-clients
FAMILIES := build/families
TINY := examples/nld-tiny
REAL_SIZE ?= build/real-size
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# worksteal: each worker starts with a part of the list, so that few of them make what neighbouring tests share.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

.PHONY: demo test test-slow test-browser test-aiperf test-clients families real-size lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow

test-browser: $(VENV)/.installed-browser
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
	    { echo "no browser on PATH; on Debian: apt-get install chromium fonts-dejavu-core" >&2; exit 1; }
	$(PYTEST) -m slow tests/measure/report

test-aiperf: $(VENV)/.installed-dev $(AIPERF)/.installed
	NLD_TRT_SWEEP_AIPERF=$(AIPERF)/bin/aiperf $(PYTEST) -m slow tests/measure/aiperf

test-clients: $(CLIENTS)/.installed
	$(CLIENTS)/bin/python -m pytest -p no:cacheprovider -k "langchain or litellm" tests/serving/openai

families: $(FAMILIES)/qwen3-tiny/config.json $(FAMILIES)/sdar-tiny/config.json | $(VENV)/.installed-dev
	$(BIN)/nld-trt sweep --config sweeps/families-cpu.yaml -o $(FAMILIES)/results
	for model in nld-tiny qwen3-tiny sdar-tiny; do \
	    $(BIN)/nld-trt evaluate $(FAMILIES)/results/build/engines/$$model-cpu-fp32-* --prompts $(TINY)/eval.jsonl \
	        --batch-size 16 -o $(FAMILIES)/$$model.json || exit 1; \
	done
	$(BIN)/nld-trt report $(FAMILIES)/results -o $(FAMILIES)/report \
	    --scores $(FAMILIES)/nld-tiny.json --scores $(FAMILIES)/qwen3-tiny.json --scores $(FAMILIES)/sdar-tiny.json

$(FAMILIES)/qwen3-tiny/config.json: | $(VENV)/.installed-dev
	$(BIN)/python $(TINY)/train.py --family qwen3 --initial $(TINY) --output $(@D) --steps 300 --lr-scale 0.5 \
	    --tokens-per-batch 2048

SDAR_FLAGS := --family sdar --block-lengths 4,8 --lr-scale 0.5 --tokens-per-batch 2048 --full-mask 0.3 --level-weights

$(FAMILIES)/sdar-run1/config.json: | $(VENV)/.installed-dev
	$(BIN)/python $(TINY)/train.py $(SDAR_FLAGS) --initial $(TINY) --output $(@D) --steps 160

$(FAMILIES)/sdar-tiny/config.json: $(FAMILIES)/sdar-run1/config.json
	$(BIN)/python $(TINY)/train.py $(SDAR_FLAGS) --initial $(<D) --output $(@D) --steps 60 --seed 1

real-size: $(VENV)/.installed-dev
	$(BIN)/python bench/real_size.py $(REAL_SIZE)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(AIPERF) $(CLIENTS) build dist demo-output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	    sys.exit(None if (3, 11) <= v[:2] < (3, 13) else \
	    f"$(PYTHON) is Python {v[0]}.{v[1]}, and nld-trt needs 3.11 or 3.12: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable '.[rtx,serve,plot]'
	@touch $@

# torch first and by version, so that whichever build this machine's pip prefers (CPU or CUDA) meets the extras' need.
$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable '.[all,dev,deploy-tests]'
	@touch $@

# Playwright drives the system's browser, and brings none from here.
$(VENV)/.installed-browser: $(VENV)/.installed-dev
	$(PIP) --editable '.[browser-tests]'
	@touch $@

# Its libraries exclude those of this project, so that only its own version is taken from the constraints.
$(AIPERF)/.installed: $(VENV)/.created constraints.txt
	$(BIN)/python -m venv $(AIPERF)
	$(AIPERF)/bin/python -m pip install --disable-pip-version-check "$$(grep '^aiperf==' constraints.txt)"
	@touch $@

$(CLIENTS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[serve,openai,clients]'
	@touch $@
