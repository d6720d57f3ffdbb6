# `make demo` and `make test` work on a machine with Python 3.11 to 3.13 and nothing else installed.

export UV_PROJECT_ENVIRONMENT := .venv
# where an image has this set, each of the hundreds of processes of the tests compiles its libraries anew
export PYTHONDONTWRITEBYTECODE :=
VENV_UV := .uv/bin/uv
UV := $(shell command -v uv 2>/dev/null || echo $(VENV_UV))
RUN := $(UV) run --no-sync

.PHONY: demo test install lint types check fast configs lexicon measured bench bench-control bench-governed bench-retrieval bench-stores bench-quoting bench-evals bench-router bench-answers bench-languages bench-followups bench-labels bench-joint bench-hybrid bench-patterns bench-streaming bench-forks ollama test-ollama helm versitygw test-langfuse test-langfuse-4 test-machines test-openai-3 test-redteam bench-machines notebooks clean

demo: $(UV)
	@echo "Installing (the first time takes a minute)"
	@$(UV) sync --frozen --no-dev --inexact --quiet
	@$(RUN) sluicegate demo

# in WORKERS processes beside each other; a file stays in one process, with what it sets up
WORKERS ?= 2
test: install
	@$(MAKE) --no-print-directory --output-sync --jobs=2 types lint test-openai-3 test-langfuse-4
	$(RUN) pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# --- what they stand on ---

install: $(UV)
	@$(UV) sync --frozen --all-extras --quiet

$(VENV_UV):
	@echo "uv is not installed: putting it into .uv"
	@python3 -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"

ifneq ($(UV),$(VENV_UV))
$(UV):
endif

lint:
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) lint-imports --no-cache

types:
	$(RUN) basedpyright --level error

# what a change is checked by while it is made
check: install
	@$(MAKE) --no-print-directory --output-sync --jobs=2 types lint fast configs

fast:
	$(RUN) pytest -q -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

configs:
	$(RUN) sluicegate check configs

# the words that the guard grounded knows, from ICU and CLDR; needs libicu-dev
lexicon: install
	$(UV) run --with PyICU --with babel --with stopwordsiso --with num2words --with "spacy>=3.8,<4" python benchmarks/lexicon.py

# --- what is measured ---

# docs/measured.md, from what the benchmarks below have recorded with --record
measured: install
	$(RUN) python benchmarks/results.py

bench: install
	$(RUN) python benchmarks/run.py
	$(RUN) python benchmarks/checking.py
	$(RUN) python benchmarks/loading.py
	$(RUN) python benchmarks/tracing.py
	$(RUN) python benchmarks/audit.py

# CPU and bytes of a governed run, beside a graph written by hand with the same libraries
bench-governed: install
	$(RUN) python benchmarks/governed.py

bench-control: install
	$(RUN) python benchmarks/ledger.py
	$(RUN) python benchmarks/edges.py
	$(RUN) python benchmarks/shared_state.py --record
	$(RUN) python benchmarks/openai_api.py
	$(RUN) python benchmarks/serving.py
	$(RUN) python benchmarks/batch.py
	$(RUN) python benchmarks/firewall.py
	$(RUN) python benchmarks/console.py
	$(RUN) python benchmarks/viewers.py
	$(RUN) python benchmarks/cache.py
	$(RUN) python benchmarks/guards.py

bench-retrieval: install
	$(RUN) python benchmarks/retrieval.py

bench-stores: install
	$(RUN) python benchmarks/stores.py

bench-quoting: install
	$(RUN) python benchmarks/quoting.py

bench-evals: install
	$(RUN) python benchmarks/evals.py

bench-router: install
	$(RUN) python benchmarks/router.py

bench-answers: install
	$(RUN) python benchmarks/answers.py

# how sure label decoding is, and how often it is right
bench-labels: install
	$(RUN) python benchmarks/labels.py embedded:smollm2-135m

# thresholds chosen together: validity over 400 redraws, and gain; what any thresholds could gain on the helpdesk
bench-joint: install
	$(RUN) python benchmarks/joint.py
	$(RUN) python benchmarks/joint_helpdesk.py

# answers are kept in the user's cache, so an interrupted run goes on
bench-hybrid: install
	$(RUN) sluicegate models pull --yes qwen2.5-coder-0.5b qwen2.5-coder-1.5b
	$(RUN) python benchmarks/hybrid.py

bench-streaming: install
	$(RUN) python benchmarks/streaming.py

# eight branches beside one, and beside LangGraph's own fan-out
bench-forks: install
	$(RUN) python benchmarks/forks.py

# workers beside one, a killed one's runs, what a run writes on the server
bench-machines: install
	$(RUN) python benchmarks/machines.py

bench-languages: install
	$(RUN) python benchmarks/languages.py

bench-followups: install
	$(RUN) python benchmarks/followups.py

bench-patterns: install
	$(RUN) python benchmarks/patterns.py

# --- against real servers, when their address is set in the environment ---

# a real Ollama server, built from its Go module into the user's cache; its path is printed
ollama: install
	@$(RUN) python -m tests.support.ollama_build

# against that one, or the one at OLLAMA_HOST
test-ollama: install
	@server="$${OLLAMA_HOST:-$$($(RUN) python -m tests.support.ollama_build)}" && test -n "$$server" && \
	SLUICEGATE_TEST_OLLAMA="$$server" $(RUN) pytest -q -m ollama tests/models tests/ollama

# built from their Go modules into the user's cache; the tests of the chart and of S3 use them, or those on the path
helm versitygw: install
	@$(RUN) python -m tests.support.go_build $@

test-langfuse: install
	$(RUN) pytest -q -m langfuse tests/observe/exporters/test_langfuse_server.py

# the SDK's other major
test-langfuse-4: install
	$(RUN) --with "langfuse>=4.14,<5" pytest -q tests/observe/exporters/test_langfuse_sdk.py tests/observe/exporters/test_fields.py

# the client's newest major; guardrails-ai does not allow it beside itself
test-openai-3: install
	$(RUN) --with "openai==3.57.0" pytest -q tests/serving/http/openai

# 300 kills, cuts and other faults on machines that share a database; Linux, as root
test-machines: install
	SLUICEGATE_TEST_ALL_KILLS=1 $(RUN) pytest -q -rP tests/faults/machines

test-redteam: install
	$(RUN) pytest -q -m redteam

clean:
	rm -rf .venv .uv .sluicegate dist build
