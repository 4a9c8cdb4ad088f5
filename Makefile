# homing: `make run` starts a cluster, `make test` runs everything. `make help` lists the rest.
PYTHON ?= python3
APP ?= examples/hello
NODES ?= 3
PORT ?= 8787
SEEDS ?= 2000
SECONDS ?= 180
HOURS ?= 1
KIND ?=
COMPARE ?=
ONLY ?=
KEEP ?=
BEFORE ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help environment setup run test check format sim chaos mutants model fuzz bench operations bench-sandbox sandbox-cycles load soak lock protobuf reference clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: # what `make run` needs, which is not to wait for a browser
	@$(PYTHON) tools/setup.py

setup: ## make .venv with the locked dependencies, and get etcd, wrk, iproute2, nftables and chromium
	@$(PYTHON) tools/setup.py test

run: environment ## a cluster with an application: APP=examples/hello NODES=3 PORT=8787
	@exec $(BIN)/homing dev $(APP) --nodes $(NODES) --port $(PORT)

test: setup ## every check and every test, with a summary; KIND=unit runs one kind
	@exec $(BIN)/python tools/run_tests.py $(KIND)

check: setup ## formatting, lint, types, import rules, generated code and pages
	@exec $(BIN)/python tools/run_tests.py check

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

sim: setup ## the simulator: SEEDS=2000
	@exec $(BIN)/python tests/simulation/run.py --seeds $(SEEDS)

mutants: setup ## every rule broken once, each must be caught
	@exec $(BIN)/python tests/simulation/mutants.py

model: ## spin tries every short history of the log's rules, and breaks each rule once
	@$(PYTHON) tools/setup.py model
	@exec $(BIN)/python docs/model/run.py

fuzz: setup ## a fuzzer at every decoder, each for SECONDS=180: ONLY=frames,routes,config,pages KEEP=yes
	@$(PYTHON) tools/setup.py fuzz
	@exec $(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY)) $(if $(KEEP),--keep)

chaos: setup ## hurt processes, disks and the network under load: SECONDS=180
	@exec $(BIN)/python tests/chaos/run.py --seconds $(SECONDS)

bench: setup ## the project's benchmarks; COMPARE=path also runs that program
	@exec $(BIN)/python benchmarks/run.py $(if $(COMPARE),--compare $(COMPARE))

bench-sandbox: setup ## from new code to its first result, beside many siblings and workerd; loads a second; memory of each
	@exec $(BIN)/python benchmarks/sandboxes/run.py

operations: setup ## what is promised to operators, measured: ONLY=rolling,big_restart BEFORE=older/checkout
	@exec $(BIN)/python benchmarks/operations/run.py $(if $(ONLY),--only $(ONLY)) $(if $(BEFORE),--before $(BEFORE))

load: setup ## a mixed load with an HTML report, and each stage against the target
	@exec $(BIN)/python loadtest/run.py

sandbox-cycles: setup ## kill -9 of sandboxes, zygotes, nsjails and nodes, 1,000 times each
	@HOMING_CYCLES=1000 exec $(BIN)/python -m pytest -q -rP --timeout 0 -k kill tests/sandboxes/test_sandbox_life.py tests/sandboxes/test_sandbox_strict.py

soak: setup ## chaos in rounds, each checked by itself: HOURS=1
	@exec $(BIN)/python tests/chaos/run.py --hours $(HOURS) --report reports/soak.md

lock: ## resolve the dependencies anew and write the locks (needs uv)
	@tools/lock.sh

protobuf: ## generate the protobuf modules anew
	@tools/generate_protobuf.sh

reference: setup ## write docs/reference/api.md anew from the docstrings
	@$(BIN)/python tools/api_reference.py

clean: ## remove the state of `make run` and what tools left behind; .venv stays
	rm -rf .homing .pytest_cache .ruff_cache .hypothesis .import_linter_cache reports build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove the environments
	rm -rf .venv .homing-proto .bench
