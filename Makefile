# make run    set everything up and serve on http://127.0.0.1:8080
# make test   set everything up and run all tests
# make help   the rest

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PORT ?= 8080
BIN := $(VENV)/bin

.PHONY: help install run admin-user test tools lint mutants fuzz fuzz-api soak crash bench screenshots clean

help:
	@echo "make run         set up and serve on http://127.0.0.1:$(PORT)"
	@echo "make admin-user  make a user who may open /admin/"
	@echo "make test        set up and run all tests"
	@echo "make lint        formatting, lint, types, import contracts"
	@echo "make mutants     break each promise of the core; the property test must notice"
	@echo "make fuzz        a million wrong frames to each parser"
	@echo "make fuzz-api    Schemathesis against a switch, 300 examples for each operation"
	@echo "make soak        ten minutes of clients that come, go and die"
	@echo "make crash       kill the switch 300 times with SQLite, 50 with PostgreSQL: nothing is lost"
	@echo "make bench       measure, as ratios against controls run in the same minutes (BENCH=--help)"
	@echo "make screenshots renew the pictures of docs/pages.md"
	@echo "make clean       remove the environment (the database in var/ stays)"

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

install: $(VENV)/installed
	@$(BIN)/python manage.py migrate --verbosity 0

run: install
	@echo "Message switch on http://127.0.0.1:$(PORT)  (admin pages: 'make admin-user' once, then /admin/)"
	@exec $(BIN)/daphne -p $(PORT) --websocket_timeout -1 switchproject.asgi:application

admin-user: install
	$(BIN)/python manage.py createsuperuser

tools:
	@sh tests/install_tools.sh

test: $(VENV)/installed-dev tools
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING

mutants: $(VENV)/installed-dev
	$(BIN)/python tests/mutants/run.py

$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[bench]'
	touch $@

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks $(BENCH)

fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.protocol.test_frames

fuzz-api: $(VENV)/installed-dev
	SWITCH_FUZZ_EXAMPLES=$${SWITCH_FUZZ_EXAMPLES:-300} \
	SWITCH_FUZZ_SEED=$${SWITCH_FUZZ_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest -s tests/acceptance/test_schema_fuzz.py

soak: $(VENV)/installed-dev
	SWITCH_SOAK_SECONDS=$${SWITCH_SOAK_SECONDS:-600} \
		$(BIN)/python -m pytest -s tests/acceptance/test_soak.py

crash: $(VENV)/installed-dev
	SWITCH_CRASH_KILLS=300 SWITCH_CRASH_POSTGRES_KILLS=50 \
		$(BIN)/python -m pytest -s tests/acceptance/test_crash.py

screenshots: $(VENV)/installed-dev tools
	mkdir -p docs/images/pages
	SWITCH_TEST_SCREENSHOTS=docs/images/pages $(BIN)/python -m pytest tests/acceptance/test_pictures.py

clean:
	rm -rf $(VENV)
