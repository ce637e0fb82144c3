# Owns the names of what a person runs. Not how: integration/stages runs and times it, integration/components/fetch gets what it needs.

LAKEWARD_CACHE ?= $(HOME)/.cache/lakeward
# Outside of the clone, so that clones and CI share one build.
CARGO_TARGET_DIR ?= $(LAKEWARD_CACHE)/target
export LAKEWARD_CACHE CARGO_TARGET_DIR

.DEFAULT_GOAL := help
.PHONY: help demo test test-offline simulate guards live chaos bench soak dist clean-cache

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## the whole product on an embedded broker: no network but for the build, no set-up (DEMO="--dir DIR --records N" to choose)
	@integration/stages packages-build build demo

test: ## everything: format, lints, offline tests, docs, then live tests against real Kafka, registry, S3, Spark and DuckDB
	@integration/stages packages-build format lint offline docs build build-bench fetch audit live chaos-short bench-tiny

test-offline: ## what needs no real component
	@integration/stages packages-build format lint offline docs

simulate: ## SEEDS=100000 seeds of the simulation, beginning with FIRST=1000000; or SEED=7 alone, with its trace where it fails
	@integration/stages packages-build simulate

guards: ## takes the guard of each invariant away, one at a time and in a copy, and shows that its test fails (GUARDS="OFF-1 DEC-1" to choose)
	@integration/stages packages-build fetch guards

live: ## the live tests only (LIVE="-k crash" to choose)
	@integration/stages packages-build build fetch audit live

chaos: ## faults on real components, each batch audited (CHAOS="--list"; CHAOS="--only kill --rounds 200 --seed 7 --record")
	@integration/stages packages-build build fetch chaos

bench: ## records/s, CPU, memory, freshness over formats, shapes and stores (BENCH="--list"; BENCH="--only orders_avro --record")
	@integration/stages packages-build build build-bench fetch bench bench-compaction

soak: ## 10 minutes of maintenance under everything at once, then what it does for scans after 5,000 commits
	@integration/stages packages-build build fetch soak

dist: ## the binary that is shipped: optimised across crates, stripped (half an hour on two cores)
	@integration/stages packages-build dist

clean-cache: ## removes fetched components, run folders and shared builds
	rm -rf -- "$(LAKEWARD_CACHE)"
