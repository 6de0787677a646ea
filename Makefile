# make setup | serve | answer Q="…" | test | test-all | test-docker | check — each does what is missing first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA := $(or $(RAG_RT_HOME),data)
PREPARED := $(DATA)/.prepared
# For a small CPU build of torch from elsewhere: make setup TORCH_INDEX=<address of that index>
TORCH_INDEX ?=
HOST ?= 127.0.0.1
PORT ?= 8000
export Q ?=

.PHONY: setup serve answer test test-all test-docker check format clean

INSTALL := PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH_INDEX="$(TORCH_INDEX)" scripts/install

$(READY): constraints.txt starter-pack.txt pyproject.toml scripts/install
	@$(INSTALL)

# An index in an older format is built anew; where it is not, this takes seconds.
$(PREPARED): $(READY) retriever/index.py
	@$(BIN)/rag-rt setup
	@touch $@

# Always looks at everything, and mends what is damaged.
setup:
	@$(INSTALL)
	@$(BIN)/rag-rt setup
	@touch $(PREPARED)

serve: $(PREPARED)
	@$(BIN)/rag-rt serve --host $(HOST) --port $(PORT)

answer: $(PREPARED)
	@$(BIN)/rag-rt answer "$$Q"

test: $(PREPARED)
	@scripts/browser
	$(BIN)/python -m pytest -m "not slow"

test-all: $(PREPARED)
	@scripts/browser
	$(BIN)/python -m pytest

# The image and its container, for real; needs Docker, or root on Debian (docs/docker.md).
test-docker:
	@scripts/test-docker

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) data
