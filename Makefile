# What people and CI do here. Each target says what it needs and gets it.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz bench lint fmt clean
# Plain users do not have these in PATH, and iptables and tc are there.
export PATH := $(PATH):/usr/sbin:/sbin
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

help: ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## Install what building and testing needs (Debian packages, Envoy)
	scripts/setup

demo: ## Run a mesh of two zones on this machine; flags in ARGS, e.g. ARGS=--once
	scripts/setup demo
	cargo build --release --locked
	$(TARGET)/release/meshspan demo $(ARGS)

test: setup ## Run all tests, end to end with real Envoys; cargo's flags in ARGS
	scripts/test $(ARGS)

fuzz: setup ## Ask Envoy about random valid configurations; FUZZ_SETS (1000) of them, the first of FUZZ_SEED (the time)
	FUZZ_SETS=$${FUZZ_SETS:-1000} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} \
		cargo test --locked -p meshspan-envoy --test random_sets -- --nocapture

bench: ## Measure how fast a change travels between zones, and what processes cost; flags in ARGS
	scripts/setup
	cargo build --release --locked -p meshspan -p meshspan-bench
	$(TARGET)/release/meshspan-bench $(ARGS)

lint: ## Check formatting, clippy, the rules of the house, licences
	scripts/lint

fmt: ## Format all Rust files
	cargo fmt --all

clean: ## Remove what was built, and the managed Envoy
	cargo clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/meshspan/envoy"
