# What people type and what CI runs. Everything lives in .venv and results/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 4)
KILLS ?= 20
BASELINE := .venv-baseline
BASELINE_PIP := $(BASELINE)/bin/python -m pip --disable-pip-version-check --quiet
# A file of tests to a process, the longest first (tests/conftest.py).
PYTEST := pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup stage-a stress stage-a-full study study-full test coverage fuzz lint format docs site bench bench-report bench-dag bench-decision bench-rpie wheels setup-baseline \
  setup-hashed lock audit test-oldest test-newest faults clean-env

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

setup: $(READY) ## make the environment in .venv

# torch first and pinned: any other order may fetch several GB of CUDA packages instead.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is too old: Python 3.11 or newer is needed (PYTHON=python3.11 make setup)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "make: no virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing the tested set into $(VENV) (some minutes the first time)"
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt setuptools
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $(READY)

stage-a: $(READY) ## run Stage A in small: results/stage_a/summary.md
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --resources gpu=1 stage_a_summary
	@echo "read results/stage_a/summary.md"

stress: $(READY) ## run the stress stage in small: results/stress/summary.md
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --resources gpu=1 stress_summary
	@echo "read results/stress/summary.md"

stage-a-full: $(READY) ## run the full protocol of Stage A (meant for a GPU)
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake stage_a_summary --cores $(CORES) --resources gpu=1 --configfile config/full.yaml

study: $(READY) ## run the whole study in small: results/index.html
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --resources gpu=1 all
	@echo "open results/index.html, read results/study/decision.md"

study-full: $(READY) ## run the whole study by the full protocol (meant for a GPU)
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake all --cores $(CORES) --resources gpu=1 --configfile config/full.yaml

test: $(READY) ## run the tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST)

coverage: $(READY) ## run the tests and say which lines they reach (half as long again)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) --cov --cov-report=term

lint: $(READY) ## check style, types, spelling and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/codespell
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

faults: $(READY) ## kill a small study at KILLS random moments and compare its results (half an hour)
	$(BIN)/python tests/campaigns/interruptions.py --kills $(KILLS)

format: $(READY) ## format the sources
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

FUZZ ?= 2000
fuzz: $(READY) ## read FUZZ generated and damaged files by the readers
	PATH="$(CURDIR)/$(BIN):$$PATH" FUZZ_EXAMPLES=$(FUZZ) pytest -q tests/files/test_properties.py

bench: $(READY) ## compare speeds side by side, all or ONLY="one two": results/bench/
	PATH="$(CURDIR)/$(BIN):$$PATH" python benchmarks/run.py $(ONLY)

bench-report: $(READY) ## put what bench measured into docs/performance.md
	$(BIN)/python benchmarks/report.py --take

bench-dag: $(READY) ## time dry runs of 10 to 5000 runs
	PATH="$(CURDIR)/$(BIN):$$PATH" python benchmarks/dag.py

bench-decision: $(READY) ## count right and wrong decisions on planted studies (half an hour)
	$(BIN)/python benchmarks/decision_rates.py

# What a lent GPU's Python 3.12 may lack; with it are torch, lightning, numpy, scipy and scikit-image.
WHEELS := annotated-types contourpy cycler fonttools iniconfig kiwisolver matplotlib packaging pandas \
  platformdirs pluggy pooch psutil pydantic pydantic_core pygments pyparsing pytest python-dateutil \
  tabulate typing_extensions typing-inspection tzdata
wheels: $(READY) ## fetch what a machine with a GPU and no network lacks into wheels/
	rm -rf wheels
	$(PIP) download --constraint constraints.txt --no-deps --only-binary :all: --dest wheels \
	  --python-version 3.12 --implementation cp $(foreach n,28 27 24 17,--platform manylinux_2_$(n)_x86_64) $(WHEELS)
	du -sh wheels

# pty-chi asks for torchvision, which would replace torch or fail to load beside a CPU one; the
# rPIE needs none of it, so pty-chi comes alone and what it does need before it.
setup-baseline: $(BASELINE)/.ready ## make a second environment with pty-chi in .venv-baseline

$(BASELINE)/.ready: pyproject.toml constraints.txt constraints-baseline.txt
	@test -x $(BASELINE)/bin/python || $(PYTHON) -m venv $(BASELINE)
	@echo "installing the package and pty-chi into $(BASELINE)"
	$(BASELINE_PIP) install --constraint constraints.txt torch
	$(BASELINE_PIP) install --constraint constraints.txt setuptools
	$(BASELINE_PIP) install --constraint constraints.txt --no-build-isolation --editable .
	$(BASELINE_PIP) install --constraint constraints.txt --constraint constraints-baseline.txt scikit-learn
	$(BASELINE_PIP) install --no-deps --constraint constraints-baseline.txt ptychi
	@touch $@

bench-rpie: $(BASELINE)/.ready ## time our rPIE beside pty-chi's
	OMP_NUM_THREADS=1 $(BASELINE)/bin/python -W ignore benchmarks/rpie.py

docs: $(READY) ## write config/README.md, config/schema.json and docs/reference/reruns.md from the code
	$(BIN)/python docs/reference/keys.py
	$(BIN)/python docs/reference/reruns.py

site: .venv-site/.ready ## build the documentation as a site: open site/index.html
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/mkdocs build --quiet --strict --site-dir site
	@echo "open site/index.html"

.venv-site/.ready: constraints-site.txt
	@test -x .venv-site/bin/python || $(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip --quiet install --requirement constraints-site.txt
	@touch $@

# Nothing but the files whose checksums are on the list: no dependency of theirs is looked for.
setup-hashed: ## as setup, from files whose checksums are known (constraints-hashed.txt)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --no-deps --requirement constraints-hashed.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $(READY)

# The checksum of torch's build for CPUs, which lies in an index of torch's own.
TORCH_CPU := 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b

lock: ## renew constraints-hashed.txt after a change of constraints.txt
	@test -x .venv-tools/bin/uv || { $(PYTHON) -m venv .venv-tools && .venv-tools/bin/python -m pip --quiet install uv==0.13.8; }
	grep -v '^torch==' constraints.txt | .venv-tools/bin/uv pip compile --quiet - --no-deps --generate-hashes \
	  --no-annotate --no-header --no-config --python-version 3.11 --output-file constraints-hashed.txt
	sed -n 's|^torch==.*|&+cpu \\\n    --hash=sha256:$(TORCH_CPU)|p' constraints.txt >> constraints-hashed.txt

audit: ## ask the public advisories about every pinned package (needs the network)
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip --quiet install pip-audit==2.10.1; }
	.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

# docs/reliability.md; ONLY="tests/train" for some of the tests. Several GB where torch is CUDA's.
TEST_TOOLS := hypothesis pytest pytest-cov pytest-xdist selenium
test-oldest: ## run the tests with the oldest versions that pyproject.toml admits
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip --quiet install --prefer-binary --constraint constraints-oldest.txt \
	  torch 'setuptools>=77' $(TEST_TOOLS)
	.venv-oldest/bin/python -m pip --quiet install --prefer-binary --constraint constraints-oldest.txt \
	  --no-build-isolation --editable .
	PATH="$(CURDIR)/.venv-oldest/bin:$$PATH" $(PYTEST) -m "not slurm" $(ONLY)

test-newest: ## run the tests with the newest versions that pyproject.toml admits
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip --quiet install --upgrade torch 'setuptools>=77' $(TEST_TOOLS)
	.venv-newest/bin/python -m pip --quiet install --upgrade --upgrade-strategy eager --no-build-isolation --editable '.[slurm]'
	PATH="$(CURDIR)/.venv-newest/bin:$$PATH" $(PYTEST) $(ONLY)

clean-env: ## remove the environment
	rm -rf $(VENV)
