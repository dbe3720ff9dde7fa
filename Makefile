# Everything here needs Python 3.11 or newer and make; the rest is set up by `make setup`.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venv-tools/bin/uv
BIN := .venv/bin
# Where the evaluation data and protocols lie, for `make bench`; what is absent is left out and said so.
DATA ?=
PORT ?= 8000
PROMTOOL ?= promtool
BENCH_OPTIONS ?=
FUZZ_CASES ?= 100000
FUZZ_SEED ?=
ATHERIS_RUNS ?= 10000000
SQLMAP_LEVEL ?= 2
SLOWHTTPTEST ?= slowhttptest

export UV_PYTHON_DOWNLOADS := never
# As pip and browsers do, trust the certificates that the machine trusts: some networks have their own.
export UV_SYSTEM_CERTS := true

.DEFAULT_GOAL := help
.PHONY: setup run test check check-code coverage wheel bench fuzz audit sbom licences lock secrets image try-compose help check-alerts
.PHONY: scan-bandit scan-sqlmap scan-slow scan-wapiti scan-spectral scan-atheris

.venv-tools/uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which by PYTHON=…")'
	@$(PYTHON) -m venv --clear .venv-tools
	@.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@$(UV) sync --locked --all-extras --compile-bytecode --quiet --python $(PYTHON)
	@$(BIN)/python -m compileall -q src
	@touch $@

setup: .venv/.synced ## Make .venv with everything in it, as the lock file has it

.venv-fuzz/.synced .venv-audit/.synced .venv-scan/.synced: .venv-%/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(@D) $(UV) sync --locked --only-group $* --quiet --python $(PYTHON)
	@touch $@

# Atheris imports the parsers that it fuzzes, so it needs what the API needs.
.venv-atheris/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(@D) $(UV) sync --locked --no-default-groups --extra api --group atheris --no-install-project --quiet --python $(PYTHON)
	@touch $@

# Its packages contradict ours, so they are locked apart.
.venv-wapiti/.synced: scan/wapiti.txt .venv-tools/uv-$(UV_VERSION)
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes --requirement scan/wapiti.txt
	@touch $@

.npm-scan/.synced: scan/spectral/package.json scan/spectral/package-lock.json scan/spectral/ruleset.yaml
	@command -v npm >/dev/null || { echo 'scan: npm is missing: install Node.js with npm (Debian: nodejs and npm)' >&2; exit 1; }
	@mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

run: setup ## Serve at http://127.0.0.1:8000 with the embedded defaults (PORT=… for another port)
	@exec $(BIN)/movie-search serve --port $(PORT)

test: setup ## Run every test; brings its own PostgreSQL and Valkey
	@$(BIN)/pytest -n auto --dist worksteal

check: test check-code ## Test, then lint, types and import rules

check-code: setup # Lint, types and import rules alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy deploy/compose
	@$(BIN)/lint-imports
	@$(BIN)/deptry src

coverage: setup ## Show which lines the unit tests leave out
	@$(BIN)/coverage run -m pytest -p no:xdist tests/unit src/movie_core
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

wheel: setup ## Build the wheel and prove that it needs nothing but Python
	@rm -rf dist && $(UV) build --wheel --quiet --out-dir dist
	@$(UV) venv --quiet --clear --python $(PYTHON) dist/venv
	@$(UV) pip install --quiet --python dist/venv/bin/python --no-deps dist/*.whl
	@cd dist && venv/bin/python -W error -c 'import sys; before = set(sys.modules); import doctest, movie_core, movie_core.testing; \
	  sys.exit(doctest.testmod(movie_core).failed or bool(third := {name.partition(".")[0] for name in sys.modules} \
	  - sys.stdlib_module_names - before - {"movie_core"}) and f"loaded: {third}")'

bench: setup ## Print the measured figures beside their goals (DATA=path for search quality, BENCH_OPTIONS='--only … --full')
	@$(BIN)/python -m bench $(if $(DATA),--data $(DATA)) $(BENCH_OPTIONS)

fuzz: setup .venv-fuzz/.synced ## Ask the API whatever its document allows, and what it doesn't (FUZZ_CASES=… FUZZ_SEED=…)
	@$(BIN)/python -m fuzz --cases $(FUZZ_CASES) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

scan-bandit: setup .venv-scan/.synced ## Look for dangerous constructs in our code
	@$(BIN)/python -m scan bandit

scan-sqlmap: setup .venv-scan/.synced ## Try to inject SQL into every parameter of the API, on SQLite and PostgreSQL (SQLMAP_LEVEL=…)
	@$(BIN)/python -m scan sqlmap --level $(SQLMAP_LEVEL)

scan-slow: setup ## Ask slowly, and measure what others wait meanwhile (SLOWHTTPTEST=…; Debian's package slowhttptest)
	@$(BIN)/python -m scan slow --program $(SLOWHTTPTEST)

scan-wapiti: setup .venv-wapiti/.synced ## Let wapiti look at the API and its pages
	@$(BIN)/python -m scan wapiti

scan-spectral: setup .npm-scan/.synced ## Check the API's document against Spectral's OWASP rules; needs Node.js and npm
	@$(BIN)/python -m scan spectral

scan-atheris: setup .venv-atheris/.synced ## Fuzz the parsers of untrusted input (ATHERIS_RUNS=… executions of each)
	@$(BIN)/python -m scan atheris --runs $(ATHERIS_RUNS)

audit: .venv-audit/.synced ## Look all locked packages up among the known vulnerabilities; needs the network
	@mkdir -p dist && $(UV) export --locked --all-extras --all-groups --no-emit-project --quiet --output-file dist/locked.txt
	@.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement dist/locked.txt \
	  || { echo 'audit: not passed; see above for vulnerable packages, or for why the service was not reached' >&2; exit 1; }

sbom: setup ## Write dist/sbom.json, a CycloneDX bill of what an installation consists of
	@mkdir -p dist && $(UV) export --locked --all-extras --no-default-groups --format cyclonedx1.5 --quiet --output-file dist/sbom.json
	@echo 'dist/sbom.json is written'

licences: setup ## Write docs/licences.md anew from the installed packages
	@$(BIN)/python scripts/licences.py

check-alerts: ## Check the alert rules and run their tests (PROMTOOL=…; Debian's package prometheus has it)
	@$(PROMTOOL) check config deploy/prometheus/prometheus.yml
	@cd deploy/prometheus && $(PROMTOOL) test rules alerts_test.yml

lock: setup ## Renew the lock file, from the public index alone
	@env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX -u UV_EXTRA_INDEX_URL $(UV) lock --no-config --upgrade

secrets: ## Make the secrets that compose.yaml asks for, in .env; those that are there stay
	@$(PYTHON) deploy/compose/make_secrets.py

image: ## Build the image movie-search:local (BUILD_OPTIONS=… for docker build)
	@DOCKER_BUILDKIT=1 docker build $(BUILD_OPTIONS) --tag movie-search:local .

try-compose: # The README's journey through the stack that `docker compose up` has started; kills its containers too
	@$(PYTHON) deploy/compose/compose_journey.py --kill

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
