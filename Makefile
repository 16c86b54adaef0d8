# What to type. Every target installs what it needs.
.PHONY: help stage demo test lint bench permissions app prices clean lock
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

demo: ## See all of it work on this machine: a local AWS, a host that boots, the app at its URL
	@tools/bootstrap controller
	@.venv/bin/python -u tools/demo

stage: ## Make a second stage's inventory: NAME=staging, and SHARE=repository to use the first one's images
	@tools/stage "$(NAME)" $(SHARE)

test: ## Run every check and every test
	@tools/bootstrap dev
	@tools/check
	@.venv/bin/python -u -m rehearsal base
	@pytest --verbose --durations 20 --numprocesses 2 --dist loadfile --no-loadscope-reorder
	@cd app && .venv/bin/python -m pytest --verbose --numprocesses 2 --dist worksteal

lint: ## Run the static checks alone
	@tools/bootstrap dev
	@tools/check

bench: ## Measure, and print the figures as a table; with SCIFACT=<BEIR's folder> PAPERS=<folder>, retrieval too
	@tools/bootstrap dev
	@.venv/bin/python -u -m bench $(if $(SCIFACT),--scifact $(SCIFACT)) $(if $(PAPERS),--papers $(PAPERS))

permissions: ## Write docs/permissions.md: which rights each playbook asks AWS for, from a run of all of them
	@tools/bootstrap dev
	@.venv/bin/python -u -m tests.permissions

app: ## Run the RAG app alone on this machine, without Docker
	@tools/bootstrap app
	@cd app && .venv/bin/python -m matinee

prices: ## Refresh the dated table of prices from AWS's price list
	@tools/bootstrap controller
	@.venv/bin/python tools/prices

clean: ## Take everything down again and leave nothing behind
	@tools/clean

lock: ## Pin the newest releases that the requirements allow
	@tools/lock
