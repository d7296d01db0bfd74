# Paths are relative and unquoted on purpose: they hold no space, whatever the checkout's own path is.
PYTHON ?= python3.11
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SPHINX := $(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going

.DEFAULT_GOAL := help
.PHONY: help up kafka kafka-jars test check bench client docs clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  PYTHON=… picks the interpreter (default python3.11), ARGS=… is handed to the command.'

up: .venv/installed-runtime ## Install the runtime and start everything in the foreground, for development; DEMO=1 with a simulated fleet
	@echo 'Starting in development (BPM_ENV=development). For production, see docs/reference/settings.md.'
	@BPM_ENV=development exec $(BIN)/bpm up $(if $(DEMO),--demo) $(ARGS)

kafka: .venv/installed-test .kafka/installed ## Start a Kafka broker at 127.0.0.1:9092 in the foreground, for development
	@exec $(BIN)/python -m tests.kafka $(ARGS)

kafka-jars: .kafka/installed ## Bring the jars of Apache Kafka into .kafka

test: .venv/installed-test $(if $(and $(shell command -v mvn),$(shell command -v java)),.kafka/installed) ## Run the tests
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

check: .venv/installed-check ## Check format, lint, types, imports and the documentation
	@echo 'ruff format' && $(BIN)/ruff format --check .
	@echo 'ruff check' && $(BIN)/ruff check .
	@echo 'mypy' && $(BIN)/python -m mypy
	@echo 'lint-imports' && $(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory docs

docs: .venv/installed-check ## Build the documentation into docs/_build/html
	@echo 'documentation' && $(SPHINX) -b html docs docs/_build/html
	@echo 'The pages are in docs/_build/html.'

client: .venv/installed-test ## Generate the Python client into build/client
	@$(BIN)/python -m api.client build/client

bench: .venv/installed-bench .venv-quixstreams/installed ## Measure beside peers and floors
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove what the tools made, but neither .venv nor var
	@rm -rf build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis kernels/__pycache__

# The stamps say what is installed, so that a second run installs nothing. The stamp is made inside the
# pipe and asked for after it, because a pipe's status is that of its last command.
.venv/created:
	@echo 'Creating .venv with $(PYTHON)'
	@$(PYTHON) -m venv .venv
	@touch $@

# `runtime` is the project without any extra.
.venv/installed-%: EXTRA = $(if $(filter runtime,$*),,[$*])
.venv/installed-%: pyproject.toml constraints.txt .venv/created
	@rm -f $@
	@printf 'Installing ($*): one dot is one package '
	@{ $(PIP) install --constraint constraints.txt --editable '.$(EXTRA)' && touch $@; } \
		| awk '/^ *Collecting/ {printf "."; fflush()} END {print ""}'
	@test -f $@

# A peer of the benchmarks with older libraries, which stand before those of .venv.
.venv-quixstreams/installed: benchmarks/quixstreams.txt .venv/installed-bench
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --no-input --quiet install --requirement $<
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib")); print("$(CURDIR)")' \
		> $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/engine.pth
	@touch $@

# Maven takes Kafka's jars from the registry that it is set up with.
.kafka/installed: deploy/kafka/pom.xml | .venv/installed-test
	@rm -rf .kafka
	@echo 'Bringing the jars of Apache Kafka into .kafka'
	@mvn --batch-mode --quiet --file deploy/kafka/pom.xml dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory='$(CURDIR)/.kafka/libs'
	@$(BIN)/python -m tests.kafka.archive
	@touch $@
