# Two commands do all the set-up on a fresh machine with Python 3.11+, git and make:
#   make try    the main job on a real file, with the default model
#   make test   the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TRY := .try/films

.PHONY: try test test-all clients fuzz kills lint format bench clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

.venv/base: pyproject.toml src/allod/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "allod needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[do]'
	@touch $@

.venv/dev: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

# The films job: fetches the model (1.1 GB, once), lets it work on a copy of examples/films, shows what came of it.
try: .venv/base
	rm -rf $(TRY) && mkdir -p $(TRY) && cp examples/films/films.pdf $(TRY)
	cd $(TRY) && $(CURDIR)/$(BIN)/allod do --yes \
		"Put the table of films in films.pdf into films.xlsx, longest film first" </dev/null
	@$(BIN)/python -c 'import pandas; print(pandas.read_excel("$(TRY)/films.xlsx").to_string(index=False))'
	@echo; echo "Go on with:  $(BIN)/allod run qwen2.5-coder:1.5b    or, in any folder of yours:  $(CURDIR)/$(BIN)/allod do \"...\""

# SmolLM2's real weights (93 MB, once), pulled by allod itself into a home that only the tests use.
test-model: .venv/dev
	ALLOD_HOME=.cache/home $(BIN)/allod pull smollm2:135m

test: test-model
	$(BIN)/pytest -q -m "not slow"

# With the jobs that need the 1.1 GB default model.
test-all: test-model
	ALLOD_HOME=.cache/home $(BIN)/allod pull qwen2.5-coder:1.5b
	$(BIN)/pytest -q

# The clients that people use (PyPI's and npm's, pinned), in an environment of their own, against a server of this checkout.
clients: test-model
	test -x .venv-clients/bin/python || $(BIN)/python -m venv .venv-clients
	.venv-clients/bin/python -m pip install -q -r tests/clients/requirements.txt
	$(BIN)/python tests/clients/against.py .venv-clients/bin/python

# Whatever the OpenAPI document allows, and what it does not, for so many seconds; nightly: make fuzz SECONDS=1800.
SECONDS ?= 120
fuzz: test-model
	test -x .venv-fuzz/bin/st || ($(BIN)/python -m venv .venv-fuzz && .venv-fuzz/bin/python -m pip install -q schemathesis==4.32.5)
	$(BIN)/python tests/fuzz.py .venv-fuzz/bin/st $(SECONDS)

# kill -9 of worker, server and registry amid the work, 50 times each.
kills: test-model
	KILLS=50 $(BIN)/pytest -q tests/server/test_kills.py

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: test-model
	for file in bench/startup.py bench/gateway.py bench/batching.py bench/pull.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv .try .cache .pytest_cache .ruff_cache bench/out
