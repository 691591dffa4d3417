# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SECONDS ?= 60

.PHONY: help demo test test-house test-machine torture bench check format fuzz clean

help:
	@echo "make demo     train, track, fold, and look at it in MLflow (sets up what it needs)"
	@echo "make test     all checks and all tests (sets up what it needs)"
	@echo "make torture  try to make it lose something: MINUTES=10, SEED=7, ONLY=\"a word\""
	@echo "make bench    measure it beside the others: QUESTIONS=\"emit fold\", QUICK=1"
	@echo "make check    style and types alone"
	@echo "make format   put the source into the style"
	@echo "make fuzz     fuzz decode and fold for SECONDS=60 (new inputs come into .fuzz)"
	@echo "make clean    remove what the others made"

demo: $(VENV)/demo.stamp
	$(BIN)/steplogd demo

# Those under a real systemd share a machine that is booted for them, and wait more than they work.
test: check
	$(MAKE) --no-print-directory --jobs=2 test-house test-machine

test-house:
	$(BIN)/pytest -n 3 --dist worksteal --ignore=tests/systemd

test-machine:
	$(BIN)/pytest --quiet tests/systemd

torture: $(VENV)/test.stamp
	$(BIN)/python -m tests.torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only $(ONLY))

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(QUESTIONS)

check: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

fuzz: $(VENV)/fuzz.stamp
	mkdir -p .fuzz
	$(BIN)/python -m tests.fuzz.decode_and_fold -max_total_time=$(SECONDS) -timeout=20 \
		-max_len=4096 -dict=tests/fuzz/json.dict -artifact_prefix=.fuzz/ .fuzz tests/fuzz/corpus

$(VENV)/%.stamp: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz build dist
