# The contributor's verbs.  Everything happens in .venv; nothing needs root.
PYTHON ?= python3
EXTRAS ?= test
BIN    := .venv/bin
STAMP  := .venv/.installed-$(subst $(eval) ,-,$(subst $(comma),-,$(EXTRAS)))
comma  := ,

export ORT_DISABLE_TELEMETRY = 1

.PHONY: help demo test check format bench bench-neighbors figures personal torture fuzz clean

help:
	@echo "make demo    see it work: dropped files become a better model, in half a minute"
	@echo "make test    the tests (EXTRAS=test,oracle adds PyTorch and coremltools as oracles)"
	@echo "make check   ruff, mypy --strict and the import staircase"
	@echo "make bench   the engine beside others, docs/benchmarks.md (EXTRAS=test,oracle,bench has all of them)"
	@echo "make bench-neighbors  the search of k-NN beside others, docs/neighbors.md (EXTRAS=test,bench)"
	@echo "make figures the daemon's figures, docs/figures.md"
	@echo "make personal what personalization gains on other people's models, docs/personal.md"
	@echo "make torture random faults over real tasks (FAULTS=300 SEED=…, see docs/torture.md)"
	@echo "make fuzz    requests as nobody should send them (SECONDS=600 SEED=…, see docs/broker.md);"
	@echo "             with TARGET=models EXTRAS=test,fuzz: model files (see docs/models.md)"

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing finetuned[$(EXTRAS)] into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@

.venv/.installed-demo: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing finetuned into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

demo: .venv/.installed-demo
	@$(BIN)/finetuned demo

# Two at a time, for most of the daemon's tests wait; with more, those of the budget would hear the others' load.
test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

check: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_staircase.py

format: $(STAMP)
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(STAMP)
	@$(BIN)/python benchmarks/engine.py

bench-neighbors: $(STAMP)
	@$(BIN)/python benchmarks/neighbors.py

figures: $(STAMP)
	@$(BIN)/python benchmarks/figures.py

personal: $(STAMP)
	@$(BIN)/python benchmarks/personal.py

torture: $(STAMP)
	@PYTHONPATH=daemon:plugins:tests $(BIN)/python -m torture $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(if $(HOUSE),--house $(HOUSE))

fuzz: $(STAMP)
	@PYTHONPATH=daemon:plugins:tests $(BIN)/python -m fuzz$(if $(TARGET),.$(TARGET)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build dist
