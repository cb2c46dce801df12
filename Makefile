# `make` shows what there is. Every target installs what it needs and is safe to run again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Molecule and Ansible find the toolchain of this checkout first.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
LAB := .venv/bin/lab
# What the environment's inventory is: make deploy INVENTORY=inventories/production
INVENTORY ?= inventories/appliance

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: venv venv-app
venv:
	@scripts/bootstrap controller
venv-app:
	@scripts/bootstrap app

##@ Run it
.PHONY: demo secrets deploy versions
demo: venv ## Build the lab, converge a bare host, turn a signed ticket into a pull request
	@$(LAB) demo
secrets: venv ## Generate what secrets INVENTORY lacks
	@ansible-playbook -i $(INVENTORY) playbooks/operations/generate_secrets.yml
deploy: venv ## Run site.yml on INVENTORY
	@ansible-playbook -i $(INVENTORY) site.yml
versions: venv ## Show every pinned version, and what each host of INVENTORY carries
	@.venv/bin/python scripts/versions $(INVENTORY)

##@ Check it
.PHONY: test lint test-app test-host drills converge verify lab-down
test: ## Everything: lint, the services' tests, and the appliance on a bare host
	@scripts/test all
lint: ## Ansible, YAML, Python and shell linters; argument_specs and docs agree
	@scripts/test lint
test-app: ## The services' tests, against a real MongoDB and a real RabbitMQ
	@scripts/test app
test-host: ## molecule test: converge, idempotence, check mode, verify, end to end
	@scripts/test host
drills: ## What takes longer: killed services under load, Debian 12 and two hosts, other ports
	@scripts/test drills
converge: venv ## Converge the kept lab host (made if there is none)
	@molecule converge
verify: venv ## Run the host's tests on the kept lab host: make verify TESTS="-k nginx"
	@PYTEST_ADDOPTS="$(TESTS)" molecule verify
lab-down: venv ## Remove everything that the lab made, but for its caches
	@$(LAB) down

##@ Keep it
.PHONY: lock docs bench-deploy bench-ingest bench-agent
lock: ## Lock requirements.in and app/requirements*.in again, with hashes
	@scripts/lock
docs: venv ## Make what is made from code: docs/variables.md, the roles' tables, the picture of the layers
	@.venv/bin/python scripts/document_variables --write
	@.venv/bin/python scripts/draw_layers --write
bench-deploy: venv ## Measure the deployment's times; writes docs/benchmarks/deploy.md
	@$(LAB) bench-deploy
bench-ingest: venv ## Measure how fast tickets are taken; writes docs/benchmarks/ingest.md. BENCH_QUICK=1 only shows, BENCH_AGAINST=<commit> measures that one as well
	@scripts/bootstrap bench
	@cd app && ../.venv-bench/bin/python -m benchmarks
bench-agent: venv venv-app ## Measure what runs add to the agent's time; writes docs/benchmarks/agent.md. BENCH_QUICK=1 only shows
	@$(LAB) test-services up >/dev/null
	@$(LAB) gitea
	@cd app && PYTHONPATH=tests ../.venv-app/bin/python -m benchmarks.agent
