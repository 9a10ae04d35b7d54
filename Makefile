# Every target sets itself up: a virtual environment from the lock, and, as root, Postfix and HAProxy by apt.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
SAM := .venv-sam/bin/sam
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One more than there are processors, for much of the suite waits; but not so many that the memory ends.
WORKERS := $(shell echo $$(($$(nproc) < 3 ? $$(nproc) + 1 : 4)))

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.done  ## the main job on a Region on this machine, told step by step
	@local/programs demo
	@$(PYTHON) -m local.demo

story: $(VENV)/.done  ## a story under load of mail, told act by act (about 6 minutes): STORY=live-cutover; or unheard, without events
	@local/programs demo
	@$(PYTHON) -m local.stories "$${STORY-}"

timeline: $(VENV)/.done  ## docs/live-cutover.svg anew, from a run of the cutover
	@local/programs demo
	@$(PYTHON) -m local.timeline docs/live-cutover.svg

up: $(VENV)/.done  ## the Region for any AWS client, with a live stream: SETTLE=seconds CHECK=minutes
	@[ "$$(id -u)" != 0 ] || local/programs demo
	@$(PYTHON) -m local.up $${SETTLE:+--settle "$$SETTLE"} $${CHECK:+--check "$$CHECK"}

invoke: $(VENV)/.done  ## what the rules and functions make of EVENT=file in WORLD=file; JSON=1 for programs
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m local.invoke "$${EVENT-}" $${WORLD:+--world "$$WORLD"} $${JSON:+--json}

test: $(VENV)/.done  ## the whole suite, on real Postfix and HAProxy (as root): ARGS="-n0 -k name"
	@local/programs test
	@$(PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

soak: $(VENV)/.done  ## the model of the protocol, searched through 1 000 000 states: STATES=number; then storms: HOURS or STORMS=number
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m tests.soak $${STATES-}
	@[ -z "$${HOURS-}$${STORMS-}" ] || \
		PYTHONPATH=layers/smtp_fleet $(PYTHON) -m tests.storm.soak $${HOURS:+HOURS=$$HOURS} $${STORMS:+STORMS=$$STORMS}

browser: $(VENV)/.done  ## the page of make audit in a real Chromium (by apt, as root)
	@local/programs browser
	@$(PYTHON) -m pytest tests/console/browser.py $(ARGS)

session: $(VENV)/.done  ## docs/session.md anew: plan, status and audit in a terminal, from a real run (as root)
	@local/programs demo
	@$(PYTHON) -m local.session docs/session.md

screenshots: $(VENV)/.done  ## docs/status.svg and docs/audit.png anew, from a real run (as root)
	@local/programs demo
	@local/programs browser
	@$(PYTHON) -m local.session docs/status.svg docs/audit.png

lint: $(VENV)/.done  ## ruff, mypy, import rules, cfn-lint, shellcheck
	@local/programs lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=layers/smtp_fleet $(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/cfn-lint template.yaml
	$(PYTHON) -m local.script | shellcheck -
	shellcheck local/programs .ci/run

bench: $(VENV)/.done .venv-bench/cli/.done .venv-bench/ansible/.done .venv-bench/c7n/.done  ## calls, CPU and memory beside the peers (13 minutes): docs/performance.md
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m bench

build: .venv-sam/.done  ## sam validate and sam build, whatever Python is on PATH
	SAM_CLI_TELEMETRY=0 $(SAM) validate --lint --region us-east-1
	SAM_CLI_TELEMETRY=0 $(SAM) build

deploy: build  ## sam deploy, as samconfig.toml says: REGIONS="us-east-1 eu-west-1" ENV=name GUIDED=1
	@ready=; for region in $${REGIONS:-""}; do \
		env=$${ENV:-default}; where=$${region:-the Region of your AWS configuration}; \
		! grep -qF "[$$env-$$region.deploy." samconfig.toml || env=$$env-$$region; \
		echo "== $$where, by [$$env] of samconfig.toml"; \
		SAM_CLI_TELEMETRY=0 $(SAM) deploy --config-env "$$env" $${region:+--region "$$region"} $${GUIDED:+--guided} || \
			{ echo "stopped: $$where failed; deployed before it:$${ready:- none}" >&2; exit 1; }; \
		ready="$$ready $$region"; \
	done

plan: $(VENV)/.done  ## what would be done here and why, before anything is deployed: ARGS="--region R --json"
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m console plan $(ARGS)

status: $(VENV)/.done  ## how each tagged balancer and its instances stand: STACK=name ARGS=--json
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m console status $${STACK:+--stack "$$STACK"} $(ARGS)

audit: $(VENV)/.done  ## who was configured, when, why, with what result: STACK=name ARGS="--since 2h --html FILE"
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m console audit $${STACK:+--stack "$$STACK"} $(ARGS)

retire: $(VENV)/.done  ## take everything off in the safe order, then delete the stack: STACK=name, YES=1
	@PYTHONPATH=layers/smtp_fleet $(PYTHON) -m console retire $${STACK:+--stack "$$STACK"} $${YES:+--yes}

script: $(VENV)/.done  ## the script that runs on the instances
	@$(PYTHON) -m local.script

lock:  ## resolve the dependencies anew (needs uv)
	for name in layers/smtp_fleet/requirements requirements/dev requirements/sam requirements/bench-{cli,ansible,c7n}; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-header --no-annotate $$name.in --output-file $$name.txt; \
	done

clean:  ## remove what the other targets made here
	rm -rf $(VENV) .venv-sam .venv-bench .aws-sam .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.done: requirements/dev.txt
	@local/programs venv $(VENV) requirements/dev.txt

.venv-sam/.done: requirements/sam.txt
	@local/programs venv .venv-sam requirements/sam.txt

.venv-bench/%/.done: requirements/bench-%.txt
	@local/programs venv .venv-bench/$* requirements/bench-$*.txt

.PHONY: help demo story timeline up invoke test soak browser session screenshots lint bench build deploy plan status audit retire script lock clean
