# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test check bench generate fuzz e2e deps engine scoreboard clean

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CACHE     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/weir
GOFLAGS_X := -ldflags "-X main.version=$(VERSION)"
LINT      := $(CACHE)/golangci-lint-2.15.0/golangci-lint
FUZZTIME  ?= 60s

export WEIR_KAFKA_LIBS ?= $(CACHE)/kafka-4.1.0

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

build: ## binaries into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build $(GOFLAGS_X) -o bin/ ./cmd/weir

run: build engine ## the whole line and the demo, in the foreground until Ctrl-C
	@exec bin/weir up --demo

engine: build ## fetch the embedded ClickHouse engine once, checksum verified
	@bin/weir doctor --fetch --quiet

deps: ## what the tests need beyond Go: Apache Kafka's jars, a JRE, nginx, the engine
	@./deploy/deps.sh "$(CACHE)"

test: deps build ## everything CI needs; prints what it skipped and why
	@./deploy/test.sh

check: ## formatting, vet, linters, architecture, tidy, generated files
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt: the files above are not formatted"; exit 1; }
	go vet ./...
	go test -count=1 .
	go mod tidy -diff
	cd bench && go vet ./... && go mod tidy -diff
	@test -x $(LINT) || { mkdir -p $(dir $(LINT)) && GOBIN=$(dir $(LINT)) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0; }
	$(LINT) run ./...
	@./deploy/generated.sh

generate: ## BPF objects, the first policy's module, golden files
	go generate ./...

fuzz: ## long fuzzing of every decoder, FUZZTIME each (default 60s)
	@for spec in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs grep -HoE '^func (Fuzz[A-Za-z0-9]+)' | sed -E 's#/[^/]*_test.go:func #:#'); do \
	  echo "fuzz $$spec"; go test -run='^$$' -fuzz="^$${spec##*:}$$" -fuzztime=$(FUZZTIME) "$${spec%%:*}"; done

e2e: deps build ## slow end-to-end runs (kills, soaks); the result is docs/e2e.md
	WEIR_E2E=1 ./deploy/test.sh

bench: build ## side-by-side ratios, written to bench/results and bench/README.md
	cd bench && go run ./run

scoreboard: ## the detectors against the simulator's test seeds, written to docs/scoreboard.md
	cd bench && go run ./scoreboard/cmd/scoreboard -out ../docs/scoreboard.md

clean: ## remove built files (not the data, not the cache)
	rm -rf bin
