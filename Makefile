# Requires Python 3.11 or newer and make; `make setup` installs everything else.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venv-tools/bin/uv
BIN := .venv/bin
# Folder with evaluation data and protocols for `make bench`; measurements without data are skipped and reported.
DATA ?=
# Processes that run tests: one per core.
WORKERS ?= auto
PORT ?= 8000
PROMTOOL ?= promtool
BENCH_OPTIONS ?=
FUZZ_CASES ?= 100000
FUZZ_SEED ?=
ATHERIS_RUNS ?= 10000000
MUTANTS ?= 40
MUTATION_SEED ?= 1
SQLMAP_LEVEL ?= 2
SLOWHTTPTEST ?= slowhttptest

export UV_PYTHON_DOWNLOADS := never
# Use the system's CA certificates, like pip and browsers: some networks have their own CA.
export UV_SYSTEM_CERTS := true

.DEFAULT_GOAL := help
.PHONY: setup run test core-coverage check check-code wheel bench fuzz mutation clients audit sbom licences examples lock secrets image try-compose help check-alerts
.PHONY: scan-bandit scan-sqlmap scan-slow scan-wapiti scan-spectral scan-atheris

.venv-tools/uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required; select it with PYTHON=…")'
	@echo 'setup: installing uv $(UV_VERSION) into .venv-tools'
	@$(PYTHON) -m venv --clear .venv-tools
	@.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@echo 'setup: installing the dependencies into .venv; the first time takes about a minute'
	@$(UV) sync --locked --all-extras --compile-bytecode --quiet --python $(PYTHON)
	@echo 'setup: compiling the source code'
	@$(BIN)/python -m compileall -q src
	@touch $@

setup: .venv/.synced ## Create .venv with all dependencies from the lock file

.venv-fuzz/.synced .venv-audit/.synced .venv-scan/.synced .venv-clients/.synced .venv-mutation/.synced: .venv-%/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(@D) $(UV) sync --locked --only-group $* --quiet --python $(PYTHON)
	@touch $@

# Atheris imports the parsers that it fuzzes, so it needs the dependencies of the API.
.venv-atheris/.synced: pyproject.toml uv.lock .venv-tools/uv-$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(@D) $(UV) sync --locked --no-default-groups --extra api --group atheris --no-install-project --quiet --python $(PYTHON)
	@touch $@

# The packages of wapiti conflict with ours, so they have a lock file of their own.
.venv-wapiti/.synced: scan/wapiti.txt .venv-tools/uv-$(UV_VERSION)
	@$(UV) venv --quiet --clear --python $(PYTHON) $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes --requirement scan/wapiti.txt
	@touch $@

.npm-scan/.synced: scan/spectral/package.json scan/spectral/package-lock.json scan/spectral/ruleset.yaml
.npm-clients/.synced: clients/package.json clients/package-lock.json
.npm-scan/.synced .npm-clients/.synced:
	@command -v npm >/dev/null || { echo 'npm not found: install Node.js and npm (Debian packages nodejs and npm)' >&2; exit 1; }
	@mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

run: setup ## Serve at http://127.0.0.1:8000 with SQLite and the embedded catalogue (PORT=…)
	@echo 'starting the server at http://127.0.0.1:$(PORT); the first start loads the bundled films, which takes some seconds'
	@exec $(BIN)/movie-search serve --port $(PORT)

test: setup ## Run all tests; starts its own PostgreSQL and Valkey (COVERAGE=1 measures and checks branch coverage; WORKERS=…)
ifdef COVERAGE
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include='src/movie_core/*' --fail-under=100
else
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal
endif

core-coverage: setup ## Check that the tests of the core alone reach each of its lines and branches
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(WORKERS) tests/unit/core src/movie_core
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --include='src/movie_core/*' --fail-under=100

check: test check-code ## Run all tests, lint, type checks and import rules

check-code: setup # Lint, type checks and import rules only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry src

wheel: setup ## Build the wheel; check that it has every file, and that movie_core works without dependencies
	@rm -rf dist && $(UV) build --wheel --quiet --out-dir dist
	@$(UV) venv --quiet --clear --python $(PYTHON) dist/venv
	@$(UV) pip install --quiet --python dist/venv/bin/python --no-deps dist/*.whl
	@cd dist && venv/bin/python -W error -c 'import sys; before = set(sys.modules); import doctest, movie_core, movie_core.testing; \
	  sys.exit(doctest.testmod(movie_core).failed or bool(third := {name.partition(".")[0] for name in sys.modules} \
	  - sys.stdlib_module_names - before - {"movie_core"}) and f"loaded: {third}")'
	@cd src && find . -type f ! -name '*.pyc' | while read -r file; do test -f ../dist/venv/lib/python3*/site-packages/"$$file" \
	  || { echo "wheel: $$file is missing" >&2; exit 1; }; done

bench: setup ## Run the benchmarks and compare with their goals (DATA=path for search quality, BENCH_OPTIONS='--only … --full')
	@$(BIN)/python -m bench $(if $(DATA),--data $(DATA)) $(BENCH_OPTIONS)

fuzz: setup .venv-fuzz/.synced ## Fuzz the API with valid and invalid requests generated from its OpenAPI document (FUZZ_CASES=… FUZZ_SEED=…)
	@$(BIN)/python -m fuzz --cases $(FUZZ_CASES) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

mutation: setup .venv-mutation/.synced ## Mutation testing with cosmic-ray: at least 85 % of the mutants must fail a unit test (MUTANTS=… per module, or all; MUTATION_SEED=…)
	@$(BIN)/python -m mutation --mutants $(MUTANTS) --seed $(MUTATION_SEED)

clients: setup .venv-clients/.synced .npm-clients/.synced .npm-scan/.synced ## Generate, compile and run clients from the OpenAPI document, and lint it; requires Node.js and npm
	@$(BIN)/python -m clients

scan-bandit: setup .venv-scan/.synced ## Static security scan of the source code with Bandit
	@$(BIN)/python -m scan bandit

scan-sqlmap: setup .venv-scan/.synced ## Test every API parameter for SQL injection with sqlmap, on SQLite and PostgreSQL (SQLMAP_LEVEL=…)
	@$(BIN)/python -m scan sqlmap --level $(SQLMAP_LEVEL)

scan-slow: setup ## Slow HTTP attacks with slowhttptest; measures the latency of other clients (SLOWHTTPTEST=…; Debian package slowhttptest)
	@$(BIN)/python -m scan slow --program $(SLOWHTTPTEST)

scan-wapiti: setup .venv-wapiti/.synced ## Scan the API and its pages for vulnerabilities with Wapiti
	@$(BIN)/python -m scan wapiti

scan-spectral: setup .npm-scan/.synced ## Lint the OpenAPI document with Spectral's OWASP rules; requires Node.js and npm
	@$(BIN)/python -m scan spectral

scan-atheris: setup .venv-atheris/.synced ## Coverage-guided fuzzing of the parsers of untrusted input with Atheris (ATHERIS_RUNS=… executions each)
	@$(BIN)/python -m scan atheris --runs $(ATHERIS_RUNS)

audit: .venv-audit/.synced ## Check all locked packages for known vulnerabilities with pip-audit; requires network access
	@mkdir -p dist && $(UV) export --locked --all-extras --all-groups --no-emit-project --quiet --output-file dist/locked.txt
	@.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement dist/locked.txt \
	  || { echo 'audit: failed; see above for vulnerable packages, or the reason why the service was unreachable' >&2; exit 1; }

sbom: setup ## Write dist/sbom.json, a CycloneDX software bill of materials (SBOM)
	@mkdir -p dist && $(UV) export --locked --all-extras --no-default-groups --format cyclonedx1.5 --quiet --output-file dist/sbom.json
	@echo 'wrote dist/sbom.json'

licences: setup ## Regenerate docs/licences.md from the installed packages
	@$(BIN)/python scripts/licences.py

examples: setup ## Regenerate the examples of the OpenAPI document from responses
	@$(BIN)/python -m scripts.openapi_examples

check-alerts: ## Validate the alert rules and run their tests (PROMTOOL=…; Debian package prometheus)
	@$(PROMTOOL) check config deploy/prometheus/prometheus.yml
	@cd deploy/prometheus && $(PROMTOOL) test rules alerts_test.yml

lock: setup ## Upgrade the lock file, from the public PyPI only
	@env -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_INDEX -u UV_EXTRA_INDEX_URL $(UV) lock --no-config --upgrade

secrets: ## Add the secrets that compose.yaml requires to .env; existing values are not changed
	@$(PYTHON) deploy/compose/make_secrets.py

image: ## Build the Docker image movie-search:local (BUILD_OPTIONS=…)
	@DOCKER_BUILDKIT=1 docker build $(BUILD_OPTIONS) --tag movie-search:local .

try-compose: # End-to-end test of the stack started by `docker compose up`; also kills each container
	@$(PYTHON) deploy/compose/compose_journey.py --kill

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'
