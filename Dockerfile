# One image for API, worker, scheduler, migration and command line.
#   docker build -t movie-search:local .
# In a network with its own CA certificates (a TLS-intercepting proxy):
#   docker build --secret id=certificates,src=/etc/ssl/certs/ca-certificates.crt -t movie-search:local .

FROM python:3.11.17-slim-trixie AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PROJECT_ENVIRONMENT=/app UV_PYTHON=/usr/local/bin/python \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /source
# Dependencies first: their layer stays cached when only the source code changes.
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=certificates \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates SSL_CERT_FILE=/run/secrets/certificates; fi \
    && python -m venv /uv \
    && /uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check uv==0.13.9 \
    && /uv/bin/uv sync --locked --no-dev --all-extras --no-install-project
COPY LICENSE NOTICE README.md ./
COPY src src
RUN --mount=type=secret,id=certificates \
    if [ -s /run/secrets/certificates ]; then export SSL_CERT_FILE=/run/secrets/certificates; fi \
    && /uv/bin/uv sync --locked --no-dev --all-extras --no-editable \
    && mkdir /data

FROM python:3.11.17-slim-trixie AS program
ENV PATH=/app/bin:$PATH MOVIE_DATA_DIR=/data PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /app /app
# Under a read-only root, only a volume mounted here is writable; with PostgreSQL, Redis and SMTP none is needed.
COPY --from=build --chown=10001:10001 /data /data
WORKDIR /data
USER 10001:10001
EXPOSE 8000

# Heroku runs commands through a shell, so this stage has no ENTRYPOINT.
FROM program AS heroku
COPY deploy/heroku/start.sh deploy/heroku/
CMD ["movie-search", "serve", "--host", "0.0.0.0"]

FROM program
# For the API; deployments of other commands override it. Requests under /health/ are exempt from the Host check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-Sc", "import http.client; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["movie-search"]
CMD ["serve", "--host", "0.0.0.0"]
