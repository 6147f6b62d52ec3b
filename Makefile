# Every target sets up what it needs. PYTHON is the interpreter the environment is made with (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/all.lock
STAMP  := $(VENV)/.installed-$(shell cksum $(LOCK) pyproject.toml | cksum | cut -d' ' -f1)
N      ?= 200
GIVEN  := $(if $(findstring command line,$(origin N)),$(N))
DATA   ?=
JOBS   ?= 2
ARGS   ?=

.PHONY: help env demo check test lint docs bench-handbook bench-stream bench-turbofan bench-service bench-day bench-overload \
  fault-test rollback-test service-crash-test service-fuzz bench-ledger bench-gates bench-challenger bench-value ledger-crash-test tamper-test erasure-test two-writers services bench-kafka stream-chaos flink-test bench-backfill crash-test fuzz lock clean

help:            ## what can be done
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(STAMP)    ## the environment, pinned with hashes
$(STAMP):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q $(VENV)/lib src >/dev/null || true
	@rm -f $(VENV)/.installed-*; touch $(STAMP)

demo: env        ## the whole way on simulated card payments; writes out/demo/fraud/report.html
	$(BIN)/flightworthy demo fraud

lint: env        ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: env lint  ## the fast half: lint and fast tests, under two minutes
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not server and not browser and not data"

test: env lint   ## everything, with coverage of the spine
	sh services/install.sh
	$(BIN)/python -m pytest -n $(JOBS) --cov=flightworthy --cov-branch --cov-report=
	$(BIN)/coverage report --skip-covered --include 'src/flightworthy/decision/*' --fail-under 95

docs: env        ## the documentation, built strictly into site/
	$(BIN)/mkdocs build --strict

bench-handbook: env  ## published results and ours: make bench-handbook DATA=transactions.parquet
	$(BIN)/python -m benchmarks.handbook $(DATA)

bench-stream: env    ## events from Parquet to durable decisions, beside the model alone
	$(BIN)/python -m benchmarks.stream

bench-turbofan: env  ## the second pilot: make bench-turbofan DATA=folder
	$(BIN)/python -m benchmarks.turbofan $(DATA)

bench-service: env   ## decisions over HTTP beside other servers (makes their environments; needs wrk)
	$(BIN)/python -m benchmarks.service $(ARGS)

bench-day: env       ## a day of two million decisions at twenty times its speed: make bench-day ARGS="--speed 20"
	$(BIN)/python -m benchmarks.service.day $(ARGS)

bench-overload: env  ## what the service still decides when far more callers come than it can serve
	$(BIN)/python -m benchmarks.service.overload $(ARGS)

fault-test: env      ## every adapter of the service slow, hanging, failing, flapping, killed, under load
	$(BIN)/python -m benchmarks.service.faults $(ARGS)

rollback-test: env   ## a challenger that fails, on the running service under load: how soon everybody is back, what it cost
	$(BIN)/python -m benchmarks.service.rollback $(ARGS)

service-crash-test: env  ## kill -9, SIGTERM and reloads of the service under load: make service-crash-test N=200
	$(BIN)/python -m benchmarks.service.crash $(N) $(ARGS)

service-fuzz: env    ## mutated requests against the running service: make service-fuzz N=1000000
	$(BIN)/python -m benchmarks.service.mutated $(N) $(ARGS)

bench-ledger: env    ## durable appends with tree and signatures beside the bare disk; proofs, verification, growth
	$(BIN)/python -m benchmarks.ledger.append $(ARGS)

bench-gates: env     ## rollouts simulated by the thousand: how often gates are wrong, how soon they are right
	$(BIN)/python -m benchmarks.gates.run $(ARGS)

bench-challenger: env  ## a published random forest against its XGBoost: make bench-challenger DATA=transactions.parquet
	$(BIN)/python -m benchmarks.challenger $(DATA)

bench-value: env     ## pilots simulated whose effect is known: whether the interval of its value covers it at every look
	$(BIN)/python -m benchmarks.gates.coverage $(ARGS)

ledger-crash-test: env  ## kill -9 at every step of append, integrate and publish: make ledger-crash-test N=320
	$(BIN)/python -m benchmarks.ledger.crash $(GIVEN)

tamper-test: env     ## ten thousand changes of a ledger behind its back: an audit must find each one
	$(BIN)/python -m benchmarks.ledger.tamper $(GIVEN) $(ARGS)

erasure-test: env    ## a thousand people erased in a ledger of a million decisions: nothing is left of them, every proof holds
	$(BIN)/python -m benchmarks.ledger.erasure $(ARGS)

two-writers: env     ## two processes on one PostgreSQL ledger, half of the events in both: each is decided once
	$(BIN)/python -m benchmarks.ledger.writers $(ARGS)

services: env        ## a real Kafka, PostgreSQL and Redis for a try, until Ctrl-C
	sh services/install.sh
	$(BIN)/python -m services $(ARGS)

bench-kafka: env     ## workers of a stream beside the bare client, Quix Streams and PyFlink (makes their environments)
	sh services/install.sh
	$(BIN)/python -m benchmarks.kafka.bench $(ARGS)

flink-test: env      ## 200,000 events in Flink, its task managers killed, beside our own worker: the same bits
	sh services/install.sh
	$(BIN)/python -m benchmarks.kafka.flink $(ARGS)

stream-chaos: env    ## workers of a stream killed, paused, their broker and ledger taken away: make stream-chaos ARGS="--plans 50"
	sh services/install.sh
	$(BIN)/python -m benchmarks.kafka.chaos $(ARGS)

bench-backfill: env  ## features of files larger than memory, beside training and Spark on a sample: make bench-backfill ARGS="--events 12000000"
	sh services/install.sh
	$(BIN)/python -m benchmarks.backfill $(ARGS)

crash-test: env      ## kill -9 at random instants: make crash-test N=200
	$(BIN)/python -m benchmarks.crash $(N)

fuzz: env            ## a hundred thousand broken records
	$(BIN)/python -m benchmarks.fuzz

lock:                ## pin dependencies anew (needs uv)
	uv pip compile --quiet pyproject.toml --extra files --extra postgres --extra kafka --extra redis --extra s3 --extra service --extra otel --extra report --extra bench --extra docs --extra dev \
	  --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o $(LOCK)
	uv pip compile --quiet pyproject.toml --extra kafka --extra flink --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements/flink.lock
	uv pip compile --quiet pyproject.toml --extra spark --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements/spark.lock

clean:               ## remove what was made
	rm -rf $(VENV) out site
