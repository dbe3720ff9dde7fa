"""The OpenAPI document, checked with Spectral's OWASP rules."""

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support.programs import ask

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool
from scan.servers import serving

FOLDER = ROOT / ".npm-scan"
"""The installed packages of `scan/spectral`; a rule set is resolved relative to the file that references it."""
PROGRAM = FOLDER / "node_modules" / ".bin" / "spectral"
PREFIX = "owasp:"
PLANTED = ("owasp:api2:2023-no-credentials-in-url", "/planted/{password}/")
"""A rule, and a path that violates it (self-check)."""

ACCEPTED = {
    "api2:2023-jwt-best-practices": "tests cover the rules of RFC 8725; clients are not concerned",
    "api2:2023-no-credentials-in-url": "one-time links in emails: used by POST, no referrer, redacted in logs",
    "api2:2023-read-restricted": "health, metrics, error documentation, pages of emailed links",
    "api2:2023-write-restricted": "registration, login, password reset: the caller has no token yet",
    "api4:2023-array-limit response": "sent by the server; pages have at most 100 items",
    "api4:2023-integer-format": "requests have `minimum` and `maximum`, which are stricter",
    "api4:2023-integer-limit response": "sent by the server",
    "api4:2023-rate-limit": "rejected before the rate limit, or an operation without one",
    "api4:2023-rate-limit-responses-429": "operations without a rate limit: cheap reads of own data, staff, health",
    "api4:2023-string-limit request": "limited in bytes or after normalisation, which `maxLength` can't express",
    "api4:2023-string-limit response": "sent by the server",
    "api4:2023-string-restricted request": "ids, tokens and names: compared with stored values, never parsed",
    "api4:2023-string-restricted response": "sent by the server",
    "api5:2023-admin-security-unique": "one kind of token; the staff permission is checked on each request",
    "api8:2023-define-cors-origin": "no CORS headers by default: other origins can't read responses",
    "api8:2023-define-error-responses-401": "operations without authentication",
    "api8:2023-no-server-http": "server URL of the deployment, here loopback; HTTPS is terminated by the proxy",
    "api9:2023-inventory-access": "one server for one audience",
}


def _references(value: object) -> Iterator[str]:
    """Names of the schemas referenced in a part of the document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield str(inner).rpartition("/")[2]
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def request_schemas(document: dict[str, Any]) -> set[str]:
    """Names of the schemas used in requests, directly or indirectly."""
    found: set[str] = set()
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    waiting = [name for one in operations for name in _references([one.get("parameters"), one.get("requestBody")])]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(document["components"]["schemas"][name])
    return found


def read_results(results: Iterable[dict[str, Any]], document: dict[str, Any]) -> list[Finding]:
    """One finding per rule and place; rules about schemas are distinguished for requests and responses."""
    asked = request_schemas(document)
    found = {}
    for one in results:
        path = [str(part) for part in one["path"]]
        rule = str(one["code"]).removeprefix(PREFIX)
        is_response = "responses" in path or (path[:2] == ["components", "schemas"] and path[2] not in asked)
        side = "response" if is_response else "request"
        key = f"{rule} {side}" if f"{rule} {side}" in ACCEPTED else rule
        place = "/".join(path)
        found[key, place] = Finding(key, place, f"{one['message']} ({side})")
    return list(found.values())


def spectral(document: Path, rules: Path = FOLDER / "ruleset.yaml") -> list[dict[str, Any]]:
    """Run Spectral and return its results."""
    program = tool("spectral", PROGRAM, "make .npm-scan/.synced, which needs Node.js and npm")
    command = (program, "lint", document, "--ruleset", rules, "--format", "json", "--quiet")
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    try:
        results: list[dict[str, Any]] = json.loads(ran.stdout)
    except ValueError:
        raise ScanError(f"spectral wrote no report: {ran.stdout[-1000:]}{ran.stderr[-1000:]}") from None
    return results


def scan() -> bool:
    """Returns True if all findings are accepted."""
    with serving() as server:
        document = json.loads(ask(f"{server.url}/openapi.json")[1])
    DIST.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        path = Path(folder) / "openapi.json"
        planted = document | {"paths": document["paths"] | {PLANTED[1]: _planted()}}
        path.write_text(json.dumps(planted))
        if PLANTED not in {(one["code"], one["path"][1]) for one in spectral(path) if len(one["path"]) > 1}:
            raise ScanError("spectral does not find the planted password in a URL")
        path.write_text(json.dumps(document))
        results = spectral(path)
    (DIST / "spectral.json").write_text(json.dumps(results, indent=1))
    operations = sum(map(len, document["paths"].values()))
    return report("spectral", f"{operations} operations", read_results(results, document), ACCEPTED)


def _planted() -> dict[str, Any]:
    parameter = {"name": "password", "in": "path", "required": True, "schema": {"type": "string"}}
    return {"get": {"operationId": "planted", "parameters": [parameter], "responses": {"200": {"description": "OK"}}}}
