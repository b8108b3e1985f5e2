# Everything a newcomer or CI needs. Targets install what they need: uv through pip when it is absent, then the locked
# environment in .venv. Nothing outside this folder is written but uv's and pip's caches and what `make run` installs
# under var/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(p))))
UV := $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.tools/bin/uv)
BIN := .venv/bin
READY := .venv/.ready
ROOT := $(filter 0,$(shell id -u))
SOURCES := packages tests examples benchmarks conftest.py
UNIT := $(wildcard packages/*/tests/unit) tests/unit
SERVER := $(wildcard packages/*/tests/server) tests/server
# two tests for each core, as most of their time is waiting: for servers to start, for disks
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
# a dot for each test, without the names of files, which the workers take in turn
PYTEST := pytest -n $(WORKERS) --dist worksteal -o verbosity_test_cases=-1

# Behind a company's proxy the registry's certificate is known to the system only.
export UV_SYSTEM_CERTS ?= 1
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
# Hundreds of processes import the same modules. Without bytecode each of them compiles these anew: two thirds of the
# processor time of its start.
unexport PYTHONDONTWRITEBYTECODE

# `make run`: where the server that it starts lives
PREFIX ?= $(CURDIR)/var/mts1b
PORT ?= 4222
MONITOR_PORT ?= 8222
DATA ?=
SPEED ?=
ARGS ?=

.PHONY: help
help: ## list the targets
	@echo "MTS1B event bus. Two commands to know:"
	@echo
	@echo "  make run    install NATS under var/, start it, run the reference desk until Ctrl-C"
	@echo "  make test   install everything and run the tests"
	@echo
	@echo "All targets:"
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo
	@echo "Tests live in rooms by what they need: unit (nothing), server (a server or a process of their own),"
	@echo "system (whole services, installations, clusters). Daily: make test-unit, make test-fast; before a commit: make test."
	@echo
	@echo "make run DATA=quotes.parquet replays a file; SPEED=10 ten times as fast as it happened; PORT=4333 elsewhere."

.PHONY: setup
setup: $(READY) ## install the locked environment into .venv, and build the compiled core where there is a Rust toolchain

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it (Debian: apt-get install python3 python3-pip)" >&2; exit 1; }
	@echo "uv is not installed: fetching it into .tools" >&2
	@"$(PYTHON)" -m pip --version >/dev/null 2>&1 || { echo "pip is needed to fetch uv: install it (Debian: apt-get install python3-pip)" >&2; exit 1; }
	@"$(PYTHON)" -m pip install --quiet --disable-pip-version-check --target .tools "uv==$(UV_VERSION)"

# What the compiled core is made of: with a change of it, it is built anew.
CORE := $(shell find packages/mts1b-wire -name target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print)

$(READY): $(UV) uv.lock pyproject.toml $(wildcard packages/*/pyproject.toml) $(CORE) scripts/build-core.sh
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it (Debian: apt-get install python3)" >&2; exit 1; }
	@"$(UV)" sync --locked --all-packages --all-extras --python "$(PYTHON)" --compile-bytecode --quiet
	@scripts/build-core.sh "$(UV)" .venv/bin/python
	@touch $@

.PHONY: run
run: $(READY) ## install and start NATS under var/, then run the desk (DATA=file SPEED=10 ARGS=...)
	@scripts/run.sh "$(PREFIX)" "$(PORT)" "$(MONITOR_PORT)" $(if $(DATA),--data "$(DATA)") $(if $(SPEED),--speed "$(SPEED)") $(ARGS)

.PHONY: stop
stop: $(READY) ## stop the NATS server that `make run` started
	@mts1b-deploy stop --prefix "$(PREFIX)"

.PHONY: test
test: $(READY) ## run all tests, on real servers
	@$(if $(ROOT),,echo "not root: power cuts and broken networks are left out; 'sudo make test' runs them as well" >&2)
	@$(PYTEST) $(if $(ROOT),,-m "not privileged") $(ARGS)

.PHONY: test-fast
test-fast: $(READY) ## run the rooms unit and server, without the tests that take seconds
	@$(PYTEST) -m "not slow" $(UNIT) $(SERVER) $(ARGS)

.PHONY: test-unit
test-unit: $(READY) ## run the rooms unit: no server, no process, half a minute
	@$(PYTEST) $(UNIT) $(ARGS)

# What has a compiled twin, in pure Python: `make test` runs it in the form that is at work.
PURE_TESTS := packages/mts1b-platform/tests/unit tests/unit/equality

.PHONY: test-pure
test-pure: $(READY) ## run the unit tests of the bus without the compiled core, where there is one
	@if $(BIN)/python -c 'import mts1b_wire' 2>/dev/null; then \
		echo "without the compiled core" >&2; \
		env -u MTS1B_CORE MTS1B_PURE=1 $(PYTEST) $(PURE_TESTS) $(ARGS); \
	fi

.PHONY: test-core
test-core: $(READY) ## test the compiled core's own crate: the bytes, without Python
	@if command -v cargo >/dev/null; then cargo test --quiet --manifest-path packages/mts1b-wire/bytes/Cargo.toml; fi

# What stands on nats-py, at both ends of the range that is allowed; the locked version is tested with all the rest.
NATS_PY_ENDS := 2.14.0 2.16.0
NATS_PY_TESTS := packages/mts1b-platform/tests/server/test_nats_beside.py \
	packages/mts1b-platform/tests/server/test_raw_surface.py tests/server/test_nats_py_beside.py

.PHONY: test-nats-py
test-nats-py: $(READY) ## test bus.nats and bus.jetstream() with the oldest and the newest nats-py that are allowed
	@for version in $(NATS_PY_ENDS); do \
		echo "nats-py $$version" >&2; \
		env -u MTS1B_CORE "$(UV)" run --isolated --locked --all-packages --all-extras --python "$(PYTHON)" --with "nats-py==$$version" --quiet \
			pytest -q $(NATS_PY_TESTS) || exit 1; \
	done

.PHONY: lint
lint: $(READY) ## style, imports between packages
	@ruff check $(SOURCES)
	@ruff format --check $(SOURCES)
	@lint-imports

.PHONY: format
format: $(READY) ## rewrite the sources in the project's style
	@ruff check --fix-only --quiet $(SOURCES)
	@ruff format $(SOURCES)

.PHONY: typecheck
typecheck: $(READY) ## pyright, strict
	@pyright

.PHONY: check
check: lint typecheck test test-pure test-core simulate test-nats-py ## what CI runs: lint, types, tests, a thousand simulated seeds

.PHONY: bench
bench: $(READY) ## measure the bus beside raw nats-py and its peers; results under var/bench (ARGS=--quick: two minutes)
	@"$(UV)" sync --locked --all-packages --all-extras --group peers --inexact --python "$(PYTHON)" --quiet || \
		echo "the peers could not be installed; they will be named absent" >&2
	@python benchmarks/bench.py --json var/bench/performance.json --chart var/bench/performance.svg \
		--markdown var/bench/performance.md $(ARGS)

.PHONY: bench-instructions
bench-instructions: $(READY) ## count the instructions of a JetStream event with valgrind: not disturbed by other work (ARGS="--only bus")
	@python benchmarks/instructions.py --json var/bench/instructions.json $(ARGS)

.PHONY: bench-seeing
bench-seeing: $(READY) ## finding, exporting and indexing a million stored events (ARGS=100000 for fewer)
	@python benchmarks/bench_seeing.py $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## fuzz the wire code against nats-py's parser (ARGS=-max_total_time=600; a minute by default)
	@"$(UV)" sync --locked --all-packages --all-extras --group fuzz --inexact --python "$(PYTHON)" --quiet
	@python tests/unit/fuzz/fuzz_wire.py $(or $(ARGS),-max_total_time=60)

.PHONY: fuzz-core
fuzz-core: ## fuzz the compiled core under AddressSanitizer (ARGS=-max_total_time=600); wants Rust nightly and cargo-fuzz
	@cd packages/mts1b-wire/fuzz && for target in scan values; do \
		cargo +nightly fuzz run -O $$target -- -max_len=512 $(or $(ARGS),-max_total_time=60) || exit 1; \
	done

.PHONY: equality
equality: $(READY) ## compare the codec with pydantic on many payloads (ARGS="--payloads 1000000 --seed 7"; 100,000 of each model)
	@python tests/unit/equality/test_payloads.py $(or $(ARGS),--payloads 100000)

.PHONY: simulate
simulate: $(READY) ## simulate the bus on virtual time, with faults (SEEDS=0..1000 PROFILE=stops; PLAN='...' repeats one plan)
	@PYTHONPATH=tests/server python -m simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(PROFILE),--profile $(PROFILE)) \
		$(if $(PLAN),--plan '$(PLAN)') $(ARGS)

.PHONY: chaos
chaos: $(READY) ## kill producers, consumers and servers for minutes, and judge what is left (ARGS="--events 12000 --kills 160")
	@python tests/system/crash/chaos.py $(ARGS)
	@pytest --chaos

.PHONY: soak
soak: $(READY) ## half an hour of cut wires, frozen servers and new certificates under load (ARGS="--minutes 5 --seed 3")
	@python tests/system/soak/soak.py $(ARGS)

.PHONY: chaos-desk
chaos-desk: $(READY) ## kill the desk's services 30 times and NATS 5 times, and get the same ledger (DATA=file); halts under load
	@python tests/system/chaos_desk/desk_chaos.py $(if $(DATA),--data "$(DATA)") $(ARGS)
	@python tests/system/chaos_desk/desk_halts.py

.PHONY: bench-desk
bench-desk: $(READY) ## the whole desk: every hop on minimal and single, an order durable and relaxed, a day (ARGS="--only order")
	@python tests/system/chaos_desk/desk_bench.py $(ARGS)

.PHONY: clean
clean: ## remove the environment and caches; data under var/ stays
	@rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis .import_linter_cache tests/server/js/node_modules
