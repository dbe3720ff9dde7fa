"""Deployment files match the code. Files are parsed; nothing is started."""

import json
import os
import re
import shlex
import ssl
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.compose.make_secrets import NAMES, add_secrets
from redis import ConnectionPool, SSLConnection

from movie_adapters.settings.settings import Settings, reference
from movie_cli import app
from movie_core.operations.health import CHECK_SECONDS

ROOT = Path(__file__).parents[2]
SETTINGS = {name for name, _, _ in reference()}
REQUIRED_SECRETS = re.compile(r"\$\{(MOVIE_SECRET_KEY|\w+_PASSWORD)(:\?[^}]*)?\}")


class Loader(yaml.CSafeLoader):
    """A fast YAML loader that supports Compose's merge tags."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def read(path: Path | str) -> Any:
    return yaml.load((ROOT / path).read_text(), Loader)


COMPOSE = read("compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
KUBERNETES = ROOT / "deploy/kubernetes"


def manifests() -> Iterator[dict[str, Any]]:
    for path in KUBERNETES.glob("*/*.yaml"):
        yield from (one for one in yaml.load_all(path.read_text(), Loader) if one["kind"] != "Kustomization")


def containers() -> list[tuple[str, dict[str, Any]]]:
    """Every container of this project in the manifests, with its name."""
    found = [
        (one["metadata"]["name"], container)
        for one in manifests()
        if one["kind"] in ("Deployment", "Job")
        for container in one["spec"]["template"]["spec"]["containers"]
    ]
    for path in (ROOT / "deploy/cloudrun").glob("*.yaml"):
        spec = yaml.load(path.read_text(), Loader)["spec"]["template"]["spec"]
        spec = spec if "containers" in spec else spec["template"]["spec"]
        found += [(f"cloudrun/{path.stem}", container) for container in spec["containers"]]
    for path in (ROOT / "deploy/ecs").glob("*.json"):
        found += [(f"ecs/{path.stem}", one) for one in json.loads(path.read_text())["containerDefinitions"]]
    return found


def is_own_image(service: dict[str, Any]) -> bool:
    return bool(service["image"] == "movie-search:local")


def accepts(words: list[str]) -> bool:
    """Returns whether `movie-search` has such a command with such options; raises otherwise. Nothing is run."""
    app.parse_args([word.replace("$PORT", "8000") for word in words], exit_on_error=False, print_error=False)
    return True


def substituted(environ: dict[str, str], **given: str) -> dict[str, str]:
    """Substitutes variables like Compose; a required variable without a value gets 40 characters."""

    def value(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        return given.get(name, default if operator == ":-" else "0123456789" * 4)

    return {name: re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text) for name, text in environ.items()}


# --- compose.yaml


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_container_restrictions(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", [])) <= {"NET_BIND_SERVICE"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service.get("healthcheck", {}).get("test") or service["healthcheck"] == {"disable": True}


def test_own_services_run_as_the_image_user_without_capabilities() -> None:
    own_services = {name: one for name, one in SERVICES.items() if is_own_image(one)}
    assert set(own_services) == {"api", "worker", "scheduler", "migrate", "upstream"}
    for name, one in own_services.items():
        assert not {"user", "cap_add"} & set(one), name


def test_third_party_services_run_unprivileged() -> None:
    """Services without `user` run as the user of their image. The proxy's image has only root, here without rights."""
    users = {name: one["user"] for name, one in SERVICES.items() if "user" in one}
    assert users == {"postgres": "999:999", "queue": "999:999", "cache": "999:999", "mailpit": "1000:1000"}
    assert {name for name, one in SERVICES.items() if "cap_add" in one} == {"proxy", "pgadmin"}


def test_production_weakens_no_restriction_and_publishes_only_the_proxy() -> None:
    production = read("deploy/compose/production.yaml")["services"]
    for name, one in production.items():
        assert set(one) <= {"environment", "profiles"} | ({"ports"} if name == "proxy" else set()), name
    assert production["proxy"]["ports"] == ["80:8080", "443:8443"]
    assert (
        "ports: !override [" in (ROOT / "deploy/compose/production.yaml").read_text()
    )  # otherwise the ports of compose.yaml remain
    assert {name for name, one in production.items() if one.get("profiles")} == {"mailpit"}


def test_every_long_running_service_has_a_health_check() -> None:
    unchecked = {name for name, one in SERVICES.items() if one["healthcheck"] == {"disable": True}}
    one_off = {
        dependency
        for one in SERVICES.values()
        for dependency, how in one.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert unchecked == one_off == {"migrate"}


def test_ports_are_published_only_on_loopback_except_the_production_proxy() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert not {"api", "worker", "postgres", "queue", "cache"} & set(published)


def test_the_stores_are_on_an_internal_network() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["back"] for name in ("postgres", "queue", "cache", "upstream"))
    assert {name for name, one in SERVICES.items() if "front" in one["networks"]} == {"proxy", "api"}


def test_the_api_trusts_only_the_network_of_the_proxy() -> None:
    subnet = COMPOSE["networks"]["front"]["ipam"]["config"][0]["subnet"]
    assert SERVICES["api"]["environment"]["MOVIE_TRUSTED_PROXIES"] == subnet


def test_service_dependencies_exist_and_need_no_profile() -> None:
    for name, one in SERVICES.items():
        for dependency, condition in one.get("depends_on", {}).items():
            if condition.get("required") is False:
                continue
            assert set(SERVICES[dependency].get("profiles", [])) <= set(one.get("profiles", [])), (name, dependency)
    assert {name for name, one in SERVICES.items() if "profiles" not in one} == {
        "proxy", "api", "worker", "scheduler", "migrate", "postgres", "queue", "cache", "mailpit"
    }  # fmt: skip


def test_images_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(bases)) == 1
    images = [*bases, *(one["image"] for one in SERVICES.values() if not is_own_image(one))]
    for image in images:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", image), image


def test_no_file_contains_a_secret() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|AUTH|DATABASE_URL|REDIS_URL|SMTP_URL")
    production = read("deploy/compose/production.yaml")["services"]
    for service in (*SERVICES.values(), *production.values()):
        for name, value in service.get("environment", {}).items():
            if secret.search(name) and name != "MOVIE_SMTP_URL":
                assert re.search(r"\$\{\w+(:\?|:-\})", value), name
        assert not [word for word in service.get("command", []) if "PASSWORD}" in word or "--requirepass" in word]
    for where, container in containers():
        variables = (*container.get("env", ()), *container.get("environment", ()))
        assert not [one["name"] for one in variables if "value" in one and secret.search(one["name"])], where
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        assert not [line for line in read(path)["configMapGenerator"][0]["literals"] if secret.search(line)]
    assert not [one for one in manifests() if one["kind"] == "Secret"]


def test_make_secrets_creates_every_secret_that_compose_requires(tmp_path: Path) -> None:
    required = {name for name, _ in REQUIRED_SECRETS.findall((ROOT / "compose.yaml").read_text())}
    assert required == set(NAMES)
    file = tmp_path / ".env"
    file.write_text("VALKEY_PASSWORD=mine")
    assert add_secrets(file) == [name for name in NAMES if name != "VALKEY_PASSWORD"]
    content = file.read_text()
    assert content.startswith("VALKEY_PASSWORD=mine\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert add_secrets(file) == []
    assert file.read_text() == content
    assert len(set(re.findall(r"=([0-9a-f]{64})$", content, re.MULTILINE))) == len(NAMES) - 1


def test_make_secrets_copies_settings_to_their_present_names(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SECRET_KEY=mine\nSOURCE_URL=http://old\nMOVIE_SOURCE_URL=http://new\nMAIL_FROM=a@example.com\n")
    assert {"MOVIE_SECRET_KEY", "MOVIE_MAIL_FROM"} < set(add_secrets(file))
    lines = file.read_text().splitlines()
    assert {"MOVIE_SECRET_KEY=mine", "MOVIE_SOURCE_URL=http://new", "MOVIE_MAIL_FROM=a@example.com"} < set(lines)
    assert len([line for line in lines if line.startswith("MOVIE_SOURCE_URL=")]) == 1
    assert add_secrets(file) == []


def test_compose_passes_what_front_ends_and_operators_set() -> None:
    environ = SERVICES["api"]["environment"]
    limits = {name for name in SETTINGS if name.startswith("MOVIE_LIMIT_")}
    for name in {"MOVIE_CORS_ORIGINS", "MOVIE_PUBLIC_SEARCH", "MOVIE_EMPTY_SEARCH", "MOVIE_APP_URL", *limits}:
        assert environ[name] == f"${{{name}:-}}"
    assert len(limits) > 5


def test_a_setting_has_the_same_name_in_every_file_of_compose() -> None:
    for path in ("compose.yaml", "deploy/compose/production.yaml"):
        for name in re.findall(r"\$\{(\w+)", (ROOT / path).read_text()):
            assert f"MOVIE_{name}" not in SETTINGS, name


def test_compose_sets_only_valid_settings() -> None:
    environ = SERVICES["api"]["environment"]
    settings = Settings.load(substituted(environ), dotenv=None)
    assert set(environ) <= SETTINGS
    assert settings.source == "catalogue"
    assert (
        Settings.load(substituted(environ, MOVIE_SOURCE_URL="http://upstream:9000"), dotenv=None).source
        == "third_party"
    )
    assert settings.redis_url != settings.cache_redis_url
    for name, one in SERVICES.items():
        if is_own_image(one) and "environment" in one:
            assert one["environment"] == environ, name


def test_the_production_file_passes_the_settings_checks() -> None:
    base = SERVICES["api"]["environment"] | read("deploy/compose/production.yaml")["services"]["api"]["environment"]
    given = {"DOMAIN": "movies.example.org", "MOVIE_SMTP_URL": "smtps://u:p@mail.example.org"}
    given["MOVIE_MAIL_FROM"] = "movies@example.org"
    settings = Settings.load(substituted(base, **given), dotenv=None)
    assert (settings.env, settings.allowed_hosts) == ("production", ("movies.example.org",))


@pytest.mark.parametrize("name", [name for name, one in SERVICES.items() if is_own_image(one)])
def test_compose_runs_existing_commands(name: str) -> None:
    assert accepts(SERVICES[name]["command"])


def test_files_mounted_by_compose_exist() -> None:
    for name, one in SERVICES.items():
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], (name, volume)


# --- deploy/caddy


def test_the_proxy_forwards_only_to_the_api() -> None:
    text = re.sub(r"#.*", "", (ROOT / "deploy/caddy/Caddyfile").read_text())
    assert re.findall(r"reverse_proxy\b.*", text) == ["reverse_proxy {"]
    assert re.findall(r"dynamic a \{\s*name (\S+)\s*port (\S+)", text) == [("{$API_HOST:api}", "{$API_PORT:8000}")]
    for word in ("file_server", "root", "templates", "php_fastcgi", "forward_proxy", "import", "try_files", "map"):
        assert not re.search(rf"^\s*{word}\b", text, re.MULTILINE), word


def test_the_public_certificate_is_issued_by_a_public_authority() -> None:
    """Caddy requests a certificate from a public authority by default; its configuration must not override that."""
    text = re.sub(r"#.*", "", (ROOT / "deploy/caddy/Caddyfile").read_text())
    for word in ("tls", "auto_https", "local_certs", "acme_ca", "cert_issuer", "default_sni", "protocols"):
        assert not re.search(rf"^\s*{word}\b", text, re.MULTILINE), word
    assert read("deploy/compose/production.yaml")["services"]["proxy"]["environment"]["SITE"] == "${DOMAIN}"
    ingresses = [one for one in manifests() if one["kind"] == "Ingress"]
    assert len(ingresses) == 2
    for one in ingresses:
        assert one["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "letsencrypt"
        encrypted = [host for each in one["spec"]["tls"] for host in each["hosts"]]
        assert encrypted == [rule["host"] for rule in one["spec"]["rules"]]


# --- Dockerfile


def test_the_image_runs_as_an_unprivileged_user_without_a_shell() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == ["10001:10001"]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)", text, re.MULTILINE)[-1]) == ["movie-search"]
    assert re.findall(r"^FROM (\w+)( AS \w+)?$", text, re.MULTILINE) == [("program", " AS heroku"), ("program", "")]
    assert set(re.findall(r"^COPY .*--chown=(.*)", text, re.MULTILINE)) == {"10001:10001 /data /data"}
    assert accepts(json.loads(re.findall(r"^CMD (.*)", text, re.MULTILINE)[-1]))
    assert json.loads(re.findall(r"^HEALTHCHECK .*? CMD (.*)", text, re.MULTILINE)[-1])[0] == "python"


def test_the_image_is_built_from_the_lock_file_by_the_uv_of_the_makefile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    version = re.findall(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"uv==(\S+)", text) == version
    assert text.count("uv sync --locked --no-dev") == 2


def test_secrets_are_excluded_from_the_build_context() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == {"LICENSE", "NOTICE", "README.md", "deploy/heroku/start.sh", "pyproject.toml", "src", "uv.lock"}


# --- Kubernetes, Cloud Run, ECS


@pytest.mark.parametrize("folder", ["base", "staging", "production"])
def test_files_referenced_by_kustomize_exist(folder: str) -> None:
    kustomization = read(KUBERNETES / folder / "kustomization.yaml")
    for name in kustomization["resources"]:
        assert (KUBERNETES / folder / name).exists(), name
    names = {one["metadata"]["name"] for one in manifests()}
    for patch in kustomization.get("patches", []):
        assert patch["target"].get("name", "movie-api") in names
    for literal in kustomization["configMapGenerator"][0]["literals"]:
        assert literal.partition("=")[0] in SETTINGS


@pytest.mark.parametrize(("where", "container"), containers(), ids=lambda one: one if isinstance(one, str) else "")
def test_platform_manifests_use_existing_commands_and_valid_settings(where: str, container: dict[str, Any]) -> None:
    assert accepts(container.get("args") or container["command"])
    for one in (*container.get("env", ()), *container.get("environment", ()), *container.get("secrets", ())):
        assert one["name"] in SETTINGS, where
    assert "movie-search" in container["image"]
    assert not container["image"].endswith(":latest")


@pytest.mark.parametrize(
    "one",
    [one for one in manifests() if one["kind"] in ("Deployment", "Job")],
    ids=lambda one: f"{one['kind']} {one['metadata']['name']}",
)
def test_pods_have_security_contexts_and_resource_limits(one: dict[str, Any]) -> None:
    pod = one["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


def test_kubernetes_publishes_only_the_ingress() -> None:
    for one in manifests():
        if one["kind"] == "Service":
            assert one["spec"].get("type", "ClusterIP") == "ClusterIP", one["metadata"]["name"]
        if one["kind"] in ("Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
            assert not [port for each in pod["containers"] for port in each.get("ports", ()) if "hostPort" in port]


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/ecs").glob("*.json")), ids=lambda path: path.stem)
def test_ecs_tasks_have_container_restrictions(path: Path) -> None:
    """As far as Fargate supports it: it has no option to forbid new privileges, and none to grant any."""
    for container in json.loads(path.read_text())["containerDefinitions"]:
        assert container["user"] == "10001:10001"
        assert container["readonlyRootFilesystem"] is True
        assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
        assert not container.get("privileged")


def test_kubernetes_network_policies_restrict_every_pod() -> None:
    resources = list(manifests())
    pods = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for one in resources
        if one["kind"] in ("Deployment", "Job")
    }
    policies = {one["metadata"]["name"]: one["spec"] for one in resources if one["kind"] == "NetworkPolicy"}
    (chosen,) = policies["movie-search"]["podSelector"]["matchExpressions"]
    assert (chosen["operator"], set(chosen["values"])) == ("In", pods)
    assert policies["movie-search"]["policyTypes"] == ["Ingress", "Egress"]
    assert policies["movie-search"]["ingress"] == []
    anywhere = policies["movie-search"]["egress"][0]["to"][0]["ipBlock"]
    assert "169.254.0.0/16" in anywhere["except"]  # instance metadata with credentials, on resources large cloud
    allowed = {name: spec["ingress"] for name, spec in policies.items() if spec["ingress"]}
    assert {name: [one["ports"] for one in rules] for name, rules in allowed.items()} == {
        "movie-api": [[{"port": "http"}]],
        "movie-worker": [[{"port": "metrics"}]],
    }
    assert all(rule["from"] for rules in allowed.values() for rule in rules)


def test_disruption_budgets_and_autoscaler_select_existing_pods() -> None:
    resources = list(manifests())
    labels = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for one in resources
        if one["kind"] == "Deployment"
    }
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
        for one in resources
        if one["kind"] == "PodDisruptionBudget"
    }
    (scaler,) = (one for one in resources if one["kind"] == "HorizontalPodAutoscaler")
    assert budgets == {"movie-api", "movie-worker"} < labels
    assert scaler["spec"]["scaleTargetRef"]["name"] in labels
    assert scaler["spec"]["minReplicas"] >= 2


def test_probes_use_existing_routes() -> None:
    (api,) = (one for one in manifests() if one["kind"] == "Deployment" and one["metadata"]["name"] == "movie-api")
    container = api["spec"]["template"]["spec"]["containers"][0]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}


def test_probe_timeouts_exceed_the_dependency_check_timeout() -> None:
    """Otherwise one frozen dependency would take resources process out of service."""
    (api,) = (one for one in manifests() if one["kind"] == "Deployment" and one["metadata"]["name"] == "movie-api")
    probe = api["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["timeoutSeconds"] > CHECK_SECONDS + 1
    check = SERVICES["api"]["healthcheck"]
    (request_timeout,) = re.findall(r"timeout=(\d+)", check["test"][-1])
    assert int(check["timeout"].removesuffix("s")) > int(request_timeout) > CHECK_SECONDS + 1


# --- Heroku


def test_heroku_runs_commands_that_exist() -> None:
    processes = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    heroku = read("heroku.yml")
    commands = {"release": heroku["release"], **heroku["run"]}
    assert {name: run if isinstance(run, str) else run["command"][0] for name, run in commands.items()} == processes
    for line in processes.values():
        shell, script, *words = shlex.split(line)
        assert shell == "sh"
        assert (ROOT / script).is_file()
        assert accepts(words)
    app_json = json.loads((ROOT / "app.json").read_text())
    assert set(app_json["formation"]) == set(processes) - {"release"}
    assert set(app_json["env"]) <= SETTINGS
    assert f"AS {heroku['build']['docker']['web']['target']}\n" in (ROOT / "Dockerfile").read_text()


def run_heroku(folder: Path, **environ: str) -> tuple[dict[str, str], str]:
    """Runs `deploy/heroku/start.sh`. Returns the environment of the program, empty if not started, and stderr."""
    program = folder / "movie-search"
    program.write_text("#!/bin/sh\nenv -0\n")
    program.chmod(0o755)
    environ |= {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    ended = subprocess.run(
        ["sh", ROOT / "deploy/heroku/start.sh"], env=environ, capture_output=True, text=True, timeout=10, check=False
    )
    assert (ended.returncode == 0) is not bool(ended.stderr)
    return dict(line.split("=", 1) for line in ended.stdout.split("\0") if line), ended.stderr


HEROKU = {"DATABASE_URL": "postgres://u:p@db.example.com:5432/d", "REDIS_URL": "rediss://:p@redis.example.com:6380"}


def test_heroku_verifies_the_certificates_of_database_and_redis(tmp_path: Path) -> None:
    environ, _ = run_heroku(tmp_path, **HEROKU, DATABASE_CA="database", REDIS_CA="redis")
    assert environ["MOVIE_DATABASE_URL"] == "postgresql+asyncpg://u:p@db.example.com:5432/d?ssl=verify-full"
    assert Path(environ["PGSSLROOTCERT"]).read_text() == "database\n"
    settings = Settings.load(environ, dotenv=None)
    pool = ConnectionPool.from_url(str(settings.redis_url))
    assert pool.connection_class is SSLConnection
    connection = pool.make_connection()
    assert connection.cert_reqs == ssl.CERT_REQUIRED
    assert Path(connection.ca_certs).read_text() == "redis\n"
    assert not {"DATABASE_CA", "REDIS_CA"} & environ.keys()
    environ, _ = run_heroku(tmp_path, **HEROKU, REDIS_CA="redis")
    assert environ["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"


def test_heroku_skips_redis_verification_only_if_explicitly_allowed(tmp_path: Path) -> None:
    environ, stderr = run_heroku(tmp_path, **HEROKU)
    assert not environ
    assert stderr.count("\n") == 1
    assert "REDIS_CA" in stderr
    environ, _ = run_heroku(tmp_path, **HEROKU, REDIS_UNVERIFIED="accepted")
    assert environ["MOVIE_REDIS_URL"].endswith("?ssl_cert_reqs=none")
    assert environ["MOVIE_DATABASE_URL"].endswith("?ssl=verify-full")


def test_the_deployed_version_is_the_built_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for folder in ("staging", "production"):
        assert read(KUBERNETES / folder / "kustomization.yaml")["images"][0]["newTag"] == version
    for path in (*(ROOT / "deploy/cloudrun").iterdir(), *(ROOT / "deploy/ecs").iterdir()):
        assert re.findall(r"movie-search:([0-9.]+)", path.read_text()) == [version], path.name
