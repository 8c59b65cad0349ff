# Causeway. `make` lists the targets.

SHELL   := bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      := go
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help up build test check fmt vet lint arch unit sim e2e deps soak lab deploy release bench bench-region bench-link bench-failover bench-storm fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: build ## build, then run two linked regions on this machine until Ctrl-C
	@$(GO) build -o bin/up ./cmd/up && exec bin/up

build: ## build bin/causeway
	@$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/causeway ./cmd/causeway

test: deps check sim e2e deploy ## install what the tests need, then run all of them

check: fmt vet arch unit ## format, vet, architecture and unit tests with -race

fmt: ## fail if a file is not gofmt'd
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)" || { echo 'run gofmt -w on the files above' >&2; exit 1; }

vet: ## go vet
	$(GO) vet ./...

arch: ## who may import whom
	$(GO) test ./internal/arch

# The heaviest: they run by themselves.
HEAVY := ./internal/simlab ./internal/replica

unit: ## unit tests with -race
	@scripts/unit $$($(GO) list ./... | grep -v -e /test/ -e /internal/sim$$ -e /internal/takeover$$ -e /internal/handover$$ $(HEAVY:./%=-e /%$$))
	@scripts/unit $(HEAVY)

sim: ## 2,000 seeds of the deterministic simulator, sessions that roam, and the model of who may host a home (one goroutine: -race has nothing to find)
	$(GO) test -timeout 20m ./internal/sim ./internal/takeover ./internal/handover

e2e: build ## real processes, real clients
	@scripts/e2e ./test/...

deploy: build ## units, Debian package, release and Terraform, and what they render run for real (root; terraform and npm)
	$(GO) -C deploy/test/schema vet . && $(GO) -C deploy/test/schema test .
	$(GO) test -count=1 -timeout 40m ./deploy/test/...

release: ## binaries, Debian packages, what they were built from and checksums in dist/ (VERSION=v1.2.3)
	@scripts/release dist

soak: ## many more seeds of both simulators and of the replicas (SOAK_SEEDS, default 100000; SOAK_HANDOVER_SEEDS, default 10000; SOAK_LAB_SEEDS, default 1000, also of lost regions; SOAK_REGION_SEEDS, default 500)
	$(GO) test -timeout 120m ./internal/sim -run 'TestSeeds$$|TestCopies_Seeds$$' -sim.seeds $${SOAK_SEEDS:-100000} -sim.seed $${SOAK_SEED:-100001}
	$(GO) test -timeout 120m ./internal/handover -run 'TestWorld_(Seeds|Failovers)$$|TestIncident_EachStep$$' -handover.seeds $${SOAK_HANDOVER_SEEDS:-10000} -handover.seed $${SOAK_SEED:-100001}
	$(GO) test -timeout 120m ./internal/replica -run TestRegion_Seeds -region.seeds $${SOAK_REGION_SEEDS:-500} -region.seed $${SOAK_SEED:-100001}
	$(GO) test -timeout 120m ./internal/simlab -run 'TestSeeds$$' -simlab.seeds $${SOAK_LAB_SEEDS:-1000} -simlab.seed $${SOAK_SEED:-100001}
	$(GO) test -timeout 240m ./internal/simlab -run 'TestDisasters$$' -simlab.disasters $${SOAK_LAB_SEEDS:-1000} -simlab.seed $${SOAK_SEED:-100001}

lab: build ## regions over an emulated wide-area network: NATs, a VPN, blocked UDP, outages, kills; the long cases (root, about 25 minutes)
	CGO_ENABLED=1 $(GO) test -race -count=1 -v -timeout 30m ./test/lab
	CGO_ENABLED=1 $(GO) test -race -count=1 -v -timeout 45m ./test/e2e -run 'TestLab|OverAnOutage|ManyConnections' -lab

bench: ## benchmarks of the parts
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-region: build ## a region of three nodes beside three of NATS, and its failures: figures against the goals (ARGS='-run idle', ARGS=-help)
	$(GO) run ./test/bench $(ARGS)

bench-link: build ## two linked regions beside a mosquitto bridge and NATS leaf nodes: figures against the goals
	$(GO) run ./test/bench -run '^link$$' $(ARGS)

bench-failover: build ## a region lost under 500 devices, taken over and back, switchovers, what shipping costs: figures against the goals
	$(GO) run ./test/bench -nats - -run '^(outage|switchover|shipping)$$' $(ARGS)

drill: build ## every scenario of drills against three regions on this machine, with their reports, and one with promotion delayed by 3 s (ARGS='-run lose', ARGS=-help)
	@$(GO) build -trimpath -ldflags "$(LDFLAGS) -X causeway/internal/takeover/agent.plantedDelay=3s" -o bin/causeway-delayed ./cmd/causeway
	@$(GO) build -o bin/drill ./test/drill && exec bin/drill -delayed bin/causeway-delayed $(ARGS)

bench-storm: build ## 15,000 sessions lose their region and come to its standby; attaches a second: figures against the goals
	$(GO) run ./test/bench -nats - -run '^(storm|fleet)$$' $(ARGS)

fuzz: ## every fuzz target for FUZZTIME (default 20s)
	@scripts/fuzz $${FUZZTIME:-20s}

lint: ## golangci-lint, as configured in .golangci.yml, and tflint's core rules
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run
	@scripts/tflint

deps: ## the clients and network tools that the end-to-end tests use (apt)
	@scripts/deps

clean: ## remove what was built and run
	rm -rf bin run
