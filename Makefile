# make demo: see it work. make test: everything that can be checked. `make` alone lists the rest.

PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=
# A process for each processor; among all tests one more, each with a broker, as many tests mostly wait.
# PARALLEL= and TOGETHER= for one process.
PARALLEL ?= -n auto
TOGETHER ?= -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

VENV := .venv
BIN := $(VENV)/bin
JARS := .cache/kafka
SOURCES := connectors flows sinks tests benchmarks

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Modules are compiled once, not by each of the thousand processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help demo test check lint types audit fuzz bench clean java

help:
	@echo "make demo    four hours of traffic through the whole line, no services needed (ARGS='--hours 24 --seed 3')"
	@echo "make test    lint, types and all tests, with a real Kafka broker (Java 17, Maven)"
	@echo "make check   lint, types and the quick tests without a broker: two minutes on two cores"
	@echo "make fuzz    100 000 cases against decoders and receiver, up to twenty minutes (EDGEWATCH_FUZZ=N for others)"
	@echo "make audit   known vulnerabilities of what constraints.txt pins, where a service that knows them can be asked"
	@echo "make bench   the benchmarks, one JSON line each, with the figures of the run before beside"
	@echo "make clean   remove what the others made"
	@echo "PYTHON=...   the Python to use (3.11 or 3.12; found: $(or $(PYTHON),none))"

demo: $(VENV)/.demo
	@$(BIN)/edgewatch demo $(ARGS)

test: export EDGEWATCH_REQUIRE_SERVICES ?= kafka,chdb$(if $(shell command -v clickhouse-server),$(comma)clickhouse-server)$(ALERTMANAGER)$(BROWSER)$(STRACE)$(SHELLS)$(COMPILER)
test: java $(JARS)/classes.jsa lint types
	@MAKEFLAGS= $(BIN)/pytest $(TOGETHER) $(ARGS)

check: lint types
	@$(BIN)/pytest -q $(PARALLEL) -m "not kafka and not slow" $(ARGS)

fuzz: export EDGEWATCH_FUZZ ?= 100000
fuzz: $(VENV)/.test
	@$(BIN)/pytest -q tests/test_fuzz.py $(ARGS)

lint: $(VENV)/.test
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet . | head -40; \
		echo "not formatted: run $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check .

types: $(VENV)/.test
	@$(BIN)/mypy

# pip-audit is no part of the tests' environment: it would bring twenty packages of its own.
audit: $(VENV)/.test
	@test -x .cache/audit/bin/pip-audit || { $(BIN)/python -m venv .cache/audit && .cache/audit/bin/pip install --quiet pip-audit==2.10.1; } || true
	@$(BIN)/python -m tests.audit .cache/audit/bin/pip-audit

bench: $(VENV)/.test java $(JARS)/classes.jsa
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .cache .state edgewatch-demo build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

comma := ,

ALERTMANAGER = $(if $(shell command -v prometheus-alertmanager || command -v alertmanager),$(comma)alertmanager)
STRACE = $(if $(shell command -v strace),$(comma)strace)
SHELLS = $(foreach each,bash zsh fish,$(if $(shell command -v $(each)),$(comma)$(each)))
BROWSER = $(if $(shell command -v chromium || command -v chromium-browser || command -v google-chrome),$(comma)browser)

# Decoding in C is built where there are a compiler and Python's headers; elsewhere Python decodes, with the same results.
NATIVE := connectors/_native.c connectors/_native.h connectors/_texts.h connectors/_lasting.h connectors/_consume.c
HEADERS = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)
COMPILER = $(if $(shell command -v cc),$(if $(wildcard $(HEADERS)/Python.h),$(comma)compiler))

# A .venv that is there and fits is used as it is.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found. Debian 12: apt-get install python3 python3-venv;" \
		"or name one: make PYTHON=/path/to/python3.12"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { \
		echo "$(PYTHON) is not Python 3.11 or 3.12"; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Debian, Ubuntu: apt-get install python3-venv"; exit 2; }
	@"$(PYTHON)" -m venv --clear $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt $(NATIVE)
	@echo "installing edgewatch into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[embedded]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt $(NATIVE)
	@echo "installing edgewatch and its tests into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[embedded,test]'
	@touch $@ $(VENV)/.demo

# EDGEWATCH_TEST_KAFKA=host:port names a broker for most tests; those that kill one still start their own.
java:
	@command -v java >/dev/null || { echo "make test runs a real Kafka broker: it needs Java 17 or later." \
		"Debian, Ubuntu: apt-get install openjdk-17-jre-headless maven. Without it: make check"; exit 2; }
	@java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | { read -r major; test "$${major:-0}" -ge 17 || { \
		echo "java is version $${major:-unknown}; Kafka needs 17 or later." \
		"Debian, Ubuntu: apt-get install openjdk-17-jre-headless"; exit 2; }; }

$(JARS)/.fetched: tests/kafka/pom.xml
	@command -v mvn >/dev/null || { echo "Maven fetches the Kafka broker and is not here." \
		"Debian, Ubuntu: apt-get install maven. Without it: make check"; exit 2; }
	@echo "fetching Apache Kafka (43 MB) into $(JARS)"
	@rm -rf $(JARS)/libs
	@mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$(CURDIR)/$(JARS)/libs"
	@touch $@

$(JARS)/classes.jsa: $(JARS)/.fetched | $(VENV)/.test
	@rm -f $@
	@$(BIN)/python -m tests.kafka.classes $@
