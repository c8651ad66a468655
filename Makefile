# The two commands of a newcomer are `make demo` and `make test`; each installs what is missing, builds, and runs.
# Settings: PREFIX (install), BUILD (build folder), JOBS, LORICA_CUDA (auto, on, off), BACKEND (of the demo: cpu, cuda, mps),
# DEMO_ARGS, TEST_ARGS (pytest), BENCH_ARGS, ENDURE_ARGS, CMAKE_ARGS.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export PATH := $(CURDIR)/.venv/bin:$(PATH)
PREFIX ?= /usr/local
BUILD ?= build
# One job a core, but no more than memory allows: a file that includes LibTorch takes up to 1.5 GB to compile.
JOBS ?= $(shell cores=$$(nproc); fit=$$(awk '/MemAvailable/ {print int($$2 / 1572864)}' /proc/meminfo 2>/dev/null || echo $$cores); \
          echo $$(( fit < 1 ? 1 : fit < cores ? fit : cores )))
TEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
ENDURE_ARGS ?=
CMAKE_ARGS ?=
LORICA_CUDA ?=
BACKEND ?=
CHECK_CUDA_ARGS ?=
# Ubuntu 22.04's own g++ is 11; bootstrap installs 12 beside it.
ifeq ($(origin CXX),default)
CXX := $(shell if [ "$$(g++ -dumpversion 2>/dev/null || echo 0)" -lt 12 ] && command -v g++-12 >/dev/null; then echo g++-12; else echo g++; fi)
endif
export CXX
PYTHON := .venv/bin/python
CONFIGURE := cmake -DCMAKE_PREFIX_PATH="$(CURDIR)/.venv" $(if $(LORICA_CUDA),-DLORICA_CUDA=$(LORICA_CUDA)) $(CMAKE_ARGS)
# The layers that don't include LibTorch: sanitizers watch them in every CI run.
LIGHT_LAYERS := $(foreach layer,base config io jinja tokenizer data kernels mcp,$(if $(wildcard tests/unit/$(layer)/*),$(layer)))
LIGHT_TESTS := ^unit\.($(subst $() ,|,$(strip $(LIGHT_LAYERS))))$$

##@ Everyday
.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup setup-tests
setup: ## Install what the build needs (prints it first)
	@scripts/bootstrap --if-changed

setup-tests: ## setup, and the Python peers that the tests compare with
	@scripts/bootstrap --if-changed --tests

.PHONY: build
build: setup ## Build build/lorica
	@$(MAKE) --no-print-directory compile TARGETS=lorica

# Configures once, and when another LORICA_CUDA is asked for; Ninja itself notices later changes of CMake files and added
# sources.
.PHONY: configure compile
configure:
	@if [ ! -f $(BUILD)/build.ninja ] || \
	    { [ -n "$(LORICA_CUDA)" ] && ! grep -q '^LORICA_CUDA:STRING=$(LORICA_CUDA)$$' $(BUILD)/CMakeCache.txt; }; then \
	  $(CONFIGURE) --preset release -B $(BUILD); fi

compile: configure
	@cmake --build $(BUILD) -j $(JOBS) --target $(or $(TARGETS),all)

.PHONY: demo
demo: build ## Make a small model, fine-tune it with QLoRA, and show what it learned
	@LORICA=$(BUILD)/lorica scripts/demo $(DEMO_ARGS) $(if $(BACKEND),--backend $(BACKEND))

.PHONY: test test-all
test: setup-tests ## Unit, parity and end-to-end tests, and the checks of the repository
	@$(MAKE) --no-print-directory compile
	@scripts/run_tests --build $(BUILD) -- $(TEST_ARGS)

test-all: setup-tests ## test, with the slow ones, again under sanitizers, and check-cuda
	@$(MAKE) --no-print-directory compile
	@scripts/run_tests --build $(BUILD) --slow -- $(TEST_ARGS)
	@$(MAKE) --no-print-directory asan tsan check-cuda

.PHONY: check-cuda
check-cuda: ## Compile all that is CUDA, without a GPU: needs nvcc, and fetches headers from wheels the first time
	@$(if $(wildcard $(PYTHON)),$(PYTHON),python3) scripts/check-cuda $(CHECK_CUDA_ARGS)

##@ Parts of the tests
.PHONY: unit parity e2e
unit: setup ## C++ unit tests
	@$(MAKE) --no-print-directory compile
	@scripts/run_tests --build $(BUILD) --only unit

parity: setup-tests ## Live comparison with transformers, peft, bitsandbytes, tokenizers
	@$(MAKE) --no-print-directory compile TARGETS=lorica
	@scripts/run_tests --build $(BUILD) --only parity -- $(TEST_ARGS)

e2e: setup-tests ## The binary from outside: bad input, interruption, full disk, the demo
	@$(MAKE) --no-print-directory compile TARGETS=lorica
	@scripts/run_tests --build $(BUILD) --only e2e -- $(TEST_ARGS)

.PHONY: asan asan-light tsan
asan-light: setup ## Unit tests of the layers without LibTorch, under ASan and UBSan
	@$(CONFIGURE) --preset asan > /dev/null
	@cmake --build build-asan -j $(JOBS) --target $(addprefix test_,$(LIGHT_LAYERS))
	@UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir build-asan --output-on-failure -R '$(LIGHT_TESTS)'

asan: setup ## All unit tests under ASan and UBSan
	@$(CONFIGURE) --preset asan > /dev/null
	@cmake --build build-asan -j $(JOBS)
	@UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_leaks=0 ctest --test-dir build-asan --output-on-failure

tsan: setup ## Unit tests of the layers without LibTorch, and of parallel/, under ThreadSanitizer
	@$(CONFIGURE) --preset tsan > /dev/null
	@cmake --build build-tsan -j $(JOBS) --target $(addprefix test_,$(LIGHT_LAYERS)) test_parallel
	@ctest --test-dir build-tsan --output-on-failure -R '$(LIGHT_TESTS)'
	@TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tests/tsan.supp build-tsan/test_parallel --gtest_brief=1

##@ Speed
.PHONY: endure
endure: build ## Kill training, saving and merging at 1,000 random moments; ENDURE_ARGS: --kills N, --seed S
	@LORICA_BUILD=$(BUILD) $(PYTHON) scripts/endure $(ENDURE_ARGS)

.PHONY: bench
bench: ## Beside PEFT, bitsandbytes, TRL and tokenizers; BENCH_ARGS goes to bench/versus/run (rows, --rounds, --layers)
	@scripts/bootstrap --if-changed --bench
	@$(MAKE) --no-print-directory compile TARGETS="lorica tokenize_lines"
	@$(PYTHON) bench/versus/run --build $(BUILD) $(BENCH_ARGS)

.PHONY: bench-micro
bench-micro: setup ## Each kernel beside ATen and the limits; BENCH_ARGS: --threads N, --kernels avx2, --benchmark_filter=…
	@grep -qs '^LORICA_BENCH:BOOL=ON$$' $(BUILD)/CMakeCache.txt || $(CONFIGURE) --preset release -B $(BUILD) -DLORICA_BENCH=ON
	@$(MAKE) --no-print-directory compile TARGETS=bench_micro
	@failed=0; for program in $(BUILD)/bench/micro/*_bench; do echo "== $${program##*/}"; $$program $(BENCH_ARGS) || failed=1; done; exit $$failed

##@ Source
.PHONY: format format-check tidy docs docs-check
format: ## Format the C++ sources (clang-format 14)
	@scripts/format

format-check: ## Fail if a C++ source isn't formatted
	@scripts/format --check

tidy: setup ## clang-tidy over src/
	@command -v clang-tidy >/dev/null || { echo "clang-tidy is not there: apt-get install clang-tidy"; exit 2; }
	@$(MAKE) --no-print-directory configure
	@git ls-files 'src/*.cpp' | xargs -P $(JOBS) -n 4 clang-tidy -p $(BUILD) --quiet

docs: build ## Regenerate docs/OPTIONS.md from the option table
	@$(BUILD)/lorica options --markdown > $(BUILD)/OPTIONS.md && mv $(BUILD)/OPTIONS.md docs/OPTIONS.md

docs-check: build ## Fail if docs/OPTIONS.md isn't what the option table says
	@$(BUILD)/lorica options --markdown | diff -u docs/OPTIONS.md - || { echo "docs/OPTIONS.md is out of date: make docs"; exit 1; }

##@ The rest
.PHONY: install clean distclean
install: build ## Install to PREFIX (default /usr/local)
	@cmake --install $(BUILD) --prefix "$(PREFIX)"

clean: ## Remove build folders and the demo's work
	@rm -rf build build-asan build-tsan build-debug demo/work

distclean: clean ## clean, and the .venv
	@rm -rf .venv
