"""The API's document against Spectral's OWASP rules."""

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.programs import ask

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool
from scan.servers import serving

FOLDER = ROOT / ".npm-scan"
"""What `scan/spectral` says, installed; a rule set is looked for beside the file that names it."""
PROGRAM = FOLDER / "node_modules" / ".bin" / "spectral"
PREFIX = "owasp:"
PLANTED = ("owasp:api2:2023-no-credentials-in-url", "/planted/{password}/")
"""A rule, and a path that breaks it."""

ACCEPTED = {
    "api2:2023-jwt-best-practices": "RFC 8725 is followed, as tests show; it concerns no client",
    "api2:2023-no-credentials-in-url": "one-time links of emails: used by POST, no referrer, masked in logs",
    "api2:2023-read-restricted": "health, metrics, explanations of errors, pages behind emailed links",
    "api2:2023-write-restricted": "registering, logging in, resetting a password: the caller has no token yet",
    "api4:2023-array-limit response": "what the server sends; pages have at most 100 items",
    "api4:2023-integer-format": "requests have `minimum` and `maximum`, which say more",
    "api4:2023-integer-limit response": "what the server sends",
    "api4:2023-rate-limit": "refused before they are counted, or an operation without a limit",
    "api4:2023-rate-limit-responses-429": "operations without a limit: cheap reads of one's own data, staff's, health",
    "api4:2023-string-limit request": "limited in bytes or after normalising; `maxLength` can't say so",
    "api4:2023-string-limit response": "what the server sends",
    "api4:2023-string-restricted request": "ids, tokens and names: compared with what is stored, never parsed",
    "api4:2023-string-restricted response": "what the server sends",
    "api5:2023-admin-security-unique": "one kind of token; the right is looked up at each request",
    "api8:2023-define-cors-origin": "no CORS: browsers of other origins get no answer to read",
    "api8:2023-define-error-responses-401": "operations that take no token",
    "api8:2023-no-server-http": "the address of the deployment, here of the loopback; HTTPS is the proxy's",
    "api9:2023-inventory-access": "one server, one audience",
}


def _references(value: object) -> Iterator[str]:
    """Names of the schemas that a part of the document refers to."""
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
    """Names of the schemas that a request can have."""
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
    """Each place of each rule once; a rule about schemas is told apart for requests and responses."""
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


def spectral(document: Path) -> list[dict[str, Any]]:
    """Its results."""
    program = tool("spectral", PROGRAM, "make .npm-scan/.synced, which needs Node.js and npm")
    command = (program, "lint", document, "--ruleset", FOLDER / "ruleset.yaml", "--format", "json", "--quiet")
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    try:
        results: list[dict[str, Any]] = json.loads(ran.stdout)
    except ValueError:
        raise ScanError(f"spectral gave no report: {ran.stdout[-1000:]}{ran.stderr[-1000:]}") from None
    return results


def scan() -> bool:
    """Whether all findings are accepted ones."""
    with serving() as server:
        document = json.loads(ask(f"{server.url}/openapi.json")[1])
    DIST.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        path = Path(folder) / "openapi.json"
        planted = document | {"paths": document["paths"] | {PLANTED[1]: _planted()}}
        path.write_text(json.dumps(planted))
        if PLANTED not in {(one["code"], one["path"][1]) for one in spectral(path) if len(one["path"]) > 1}:
            raise ScanError("spectral does not find the planted password in an address")
        path.write_text(json.dumps(document))
        results = spectral(path)
    (DIST / "spectral.json").write_text(json.dumps(results, indent=1))
    operations = sum(map(len, document["paths"].values()))
    return report("spectral", f"{operations} operations", read_results(results, document), ACCEPTED)


def _planted() -> dict[str, Any]:
    parameter = {"name": "password", "in": "path", "required": True, "schema": {"type": "string"}}
    return {"get": {"operationId": "planted", "parameters": [parameter], "responses": {"200": {"description": "OK"}}}}
