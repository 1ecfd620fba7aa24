# Pyralog's two commands are `make run` and `make test`. Everything else is for people who work on it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release/pyralog
# Arguments for the server: make run ARGS="--kafka-listen 0.0.0.0:9092"
ARGS ?=

.PHONY: deps deps-test run build test check lint clients bench clean help

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

deps:
	@tools/deps build

deps-test:
	@tools/deps test

build: deps ## build target/release/pyralog
	$(CARGO) build --release --locked -p pyralog-broker

run: build ## build what is missing and run a single node
	@exec $(BIN) server $(ARGS)

check: deps-test ## cheap checks: format, lints, layering
	$(CARGO) fmt --all --check
	tools/layering
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

test: deps-test ## all tests
	tools/test

clients: ## fetch the clients that the compatibility tests use
	compat-tests/clients/setup

bench: build ## measure beside Apache Kafka, Redis and PostgreSQL, half an hour; the tables go to bench/RESULTS*.md
	$(CARGO) build --release --locked -p pyralog-bench --example naive
	bench/compare --binary $(BIN) --out bench/RESULTS.md
	bench/vlsn --binary $(BIN) --out bench/RESULTS-VLSN.md

clean: ## remove what was built
	$(CARGO) clean
