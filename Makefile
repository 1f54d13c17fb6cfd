# Everything sets itself up: `make demo` and `make test` need Python with venv, a Rust toolchain, a C linker and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS ?= requirements/dev.txt
INSTALLED := $(VENV)/.installed
# The interpreter that the core is built for; pyo3 would look for another one on PATH.
export PYO3_PYTHON = $(CURDIR)/$(BIN)/python

.PHONY: help demo test bench bench-check bench-once peers session-calls abi provider gateway sdist idle-cost lint core-test core-memory core-cases wheel lock soak suite compat docs types sweep torture clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.tools: $(REQUIREMENTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(REQUIREMENTS)
	touch $@

$(INSTALLED): $(VENV)/.tools pyproject.toml Cargo.toml Cargo.lock $(wildcard src/*.rs)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop -q --release --locked
	touch $@

demo: $(INSTALLED) ## the same requests without and with holdfast (ARGS="--threads 8")
	$(BIN)/holdfast demo $(ARGS)

test: $(INSTALLED) ## the tests (ARGS="-k name")
	$(BIN)/python -m pytest tests $(ARGS)

# An environment of its own: pytest-httpbin loads itself into every pytest that sees it.
$(VENV)-suite/.tools: requirements/suite.txt
	test -x $(VENV)-suite/bin/python || $(PYTHON) -m venv $(VENV)-suite
	$(VENV)-suite/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/suite.txt
	touch $@

suite: wheel $(VENV)-suite/.tools ## requests' and urllib3's own tests, on stock and on ours (ARGS="--only urllib3")
	$(VENV)-suite/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(VENV)-suite/bin/python tests/upstream/run.py $(ARGS)

$(VENV)-compat/.tools: requirements/compat.txt requirements/compat-alone.txt
	test -x $(VENV)-compat/bin/python || $(PYTHON) -m venv $(VENV)-compat
	$(VENV)-compat/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/compat.txt
	$(VENV)-compat/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements/compat-alone.txt
	touch $@

COMPAT = PYTHONPATH=tests/compat $(VENV)-compat/bin/python -m pytest tests/compat -p equipment -o python_files='check_*.py' -o python_functions='check_*' -W default
compat: wheel $(VENV)-compat/.tools ## libraries on top of requests (ARGS="--page docs/compatibility.md" writes their table)
	$(VENV)-compat/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(COMPAT) $(or $(ARGS),--same-page docs/compatibility.md)

# Whoever installed the wheel reads these pages and types against it.
$(VENV)-docs/.tools: requirements/docs.txt
	test -x $(VENV)-docs/bin/python || $(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/docs.txt
	touch $@

docs: wheel $(VENV)-docs/.tools ## the pages in site/, every warning an error
	$(VENV)-docs/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(VENV)-docs/bin/sphinx-build -q -W --keep-going -E -b html docs site

types: wheel $(VENV)-docs/.tools ## typed programs that use all of it, under mypy --strict and pyright's strict mode
	$(VENV)-docs/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(VENV)-docs/bin/mypy --strict --warn-unused-ignores --python-version 3.10 --cache-dir .mypy_cache/users tests/typing
	$(VENV)-docs/bin/basedpyright -p tests/typing --pythonpath $(VENV)-docs/bin/python

sweep: wheel $(VENV)-docs/.tools ## what the size of a pool costs: tables and docs/images/sweep.png
	$(VENV)-docs/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(VENV)-docs/bin/python benches/sweep.py $(or $(ARGS),--picture docs/images/sweep.png)

bench: $(INSTALLED) ## the benchmarks, with ratios to the stock adapter and to a bare socket loop
	$(BIN)/python -m pytest benches -q --benchmark-columns=median --benchmark-disable-gc $(ARGS)

provider: $(INSTALLED) ## the example of a controller's resource client, before and after
	$(BIN)/python examples/provider/run.py

gateway: $(INSTALLED) ## the example of a gateway, with an upstream of its own, and what to curl
	$(BIN)/python examples/externalproxy/run.py

abi: $(INSTALLED) ## the wheel for every Python against one for this Python alone
	rm -rf dist/abi
	$(BIN)/maturin build -q --release --locked --out dist/abi --interpreter $(BIN)/python
	$(BIN)/maturin build -q --release --locked --out dist/abi --features abi3 --interpreter $(BIN)/python
	$(BIN)/python benches/abi.py dist/abi/*-cp3[0-9][0-9]-cp*.whl dist/abi/*-abi3-*.whl

sdist: $(VENV)/.tools ## the source package, built and tried in an empty folder
	rm -rf dist/sdist
	$(BIN)/maturin sdist --out dist/sdist >/dev/null 2>&1
	sh tests/sdist.sh dist/sdist/*.tar.gz $(BIN)/python

bench-check: $(INSTALLED) ## instructions per call beside those recorded (ARGS=--write records; needs valgrind)
	$(BIN)/python benches/instructions.py $(ARGS)

# niquests replaces urllib3 wherever it is installed: an environment of its own.
$(VENV)-peers/.tools: requirements/peers.txt requirements/niquests.txt
	for name in peers niquests; do test -x $(VENV)-$$name/bin/python || $(PYTHON) -m venv $(VENV)-$$name; \
		$(VENV)-$$name/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/$$name.txt || exit 1; done
	touch $@

peers: wheel $(VENV)-peers/.tools ## other HTTP clients beside ours: the tables of docs/performance.md
	$(VENV)-peers/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(BIN)/python benches/peers/run.py --python $(VENV)-peers/bin/python --niquests $(VENV)-niquests/bin/python $(ARGS)

session-calls: $(INSTALLED) ## 50,000 generated calls on requests' session and on ours (CALLS=, HOLDFAST_SEED=)
	HOLDFAST_CALLS=$(or $(CALLS),50000) $(BIN)/python -m pytest tests/test_session_differential.py -q -rP

bench-once: $(INSTALLED) ## each benchmark once, as a test
	$(BIN)/python -m pytest benches -q --benchmark-disable

idle-cost: $(INSTALLED) ## memory and CPU of idle connections
	$(BIN)/python benches/idle_cost.py

soak: $(INSTALLED) ## 28,000 requests to one host from fresh sessions
	$(BIN)/python tests/soak.py $(ARGS)

torture: $(INSTALLED) ## two million leases on 32 threads, with time-outs, cancels and dropped leases
	$(BIN)/python tests/torture.py $(ARGS)

core-test: $(VENV)/.tools ## the Rust core: tests, lints, format
	cargo test --locked --no-default-features
	cargo clippy --locked --all-targets -- -D warnings
	cargo fmt --check

core-memory: $(VENV)/.tools ## the core's tests under valgrind, with fewer cases
	PROPTEST_CASES=16 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite" \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite" \
		cargo test --locked --no-default-features --lib

core-cases: $(VENV)/.tools ## the core's properties with many cases (CASES=100000)
	PROPTEST_CASES=$(or $(CASES),100000) cargo test --release --locked --no-default-features --lib

lint: $(INSTALLED) ## ruff, mypy --strict, the stub against the extension
	$(BIN)/ruff check python tests benches examples
	$(BIN)/ruff format --check python tests benches examples
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest holdfast._core

wheel: $(VENV)/.tools ## a release wheel in dist/
	rm -rf dist
	$(BIN)/maturin build -q --release --locked --interpreter $(BIN)/python --out dist

lock: ## requirements/*.txt from requirements/*.in (needs uv)
	for name in dev lowest suite compat docs peers niquests; do uv pip compile -q --universal --generate-hashes --python-version 3.10 \
		--no-header --no-annotate -o requirements/$$name.txt requirements/$$name.in; done

clean: ## what builds left
	rm -rf dist site target .venv .venv-* .mypy_cache .ruff_cache .pytest_cache
