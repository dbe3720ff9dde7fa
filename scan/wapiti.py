"""Vulnerability scan of the API and its pages with the Wapiti modules that need no internet access."""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.programs import ask, environment

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool
from scan.injectable import injectable_server
from scan.servers import serving

MODULES = (
    *("backup", "buster", "cookieflags", "crlf", "csp", "csrf", "exec", "file", "htaccess", "http_headers", "ldap"),
    *("permanentxss", "redirect", "shellshock", "sql", "timesql", "upload", "xss"),
)
LEFT_OUT = {
    "brute_login_form": "needs a list of users; password guessing has tests of its own",
    "cms": "for third-party software, like `network_device`, `wapp` and `wp_enum`; downloads its data",
    "htp": "downloads its data",
    "https_redirect": "concerns the proxy, like `ssl`; the server speaks HTTP",
    "methods": "sends DELETE to all paths, which ends the session; Schemathesis tests methods",
    "log4shell": "for Java, like `spring4shell`",
    "nikto": "downloads its data",
    "ssrf": "needs a server on the internet, like `xxe`; requests contain no URLs to fetch and no XML",
    "takeover": "needs internet access",
}
"""Unused modules, with the reason."""
PLANTED_MODULES = ("sql", "xss")
MODULE_SECONDS = 180
"""Time limit per module; a module that exceeds it is stopped and reported."""
RUN_SECONDS = 3600

ENDING = ("logOut", "endOtherSessions", "eraseProfile")
"""Excluded operations, which would end the session used for the scan."""

ACCEPTED = {
    "cross-site-request-forgery": "forms behind a secret one-time link, without cookies: other sites can't submit them",
    "clickjacking-protection": "`frame-ancestors 'none'` in the Content-Security-Policy replaces this header",
}


def read_report(results: dict[str, Any]) -> list[Finding]:
    """Vulnerabilities, and anomalies (server errors and timeouts)."""
    return [
        Finding(kind.lower().replace(" ", "-"), f"{one['method']} {one['path']}", f"{one['module']}: {one['info']}")
        for group in ("vulnerabilities", "anomalies")
        for kind, found in results[group].items()
        for one in found
    ]


def wapiti(url: str, modules: tuple[str, ...], *options: str) -> dict[str, Any]:
    """Run Wapiti and return its JSON report."""
    program = tool("wapiti", ROOT / ".venv-wapiti" / "bin" / "wapiti", "make .venv-wapiti/.synced")
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        path = Path(folder) / "report.json"
        command: tuple[str | Path, ...] = (
            *(program, "--url", url, "--module", ",".join(modules), "--format", "json", "--output", path),
            *("--store-session", folder, "--store-config", folder, "--flush-session", "--no-bugreport"),
            *("--max-attack-time", str(MODULE_SECONDS), "--timeout", "30", "--verbose", "2", "--level", "2", *options),
        )
        DIST.mkdir(parents=True, exist_ok=True)
        with (DIST / "wapiti.log").open("w") as log:
            subprocess.run(
                command,
                cwd=folder,
                env=environment() | {"HOME": folder},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=RUN_SECONDS,
                check=False,
            )
        if not path.exists():
            raise ScanError(f"wapiti wrote no report, see {DIST.relative_to(ROOT)}/wapiti.log")
        found: dict[str, Any] = json.loads(path.read_text())
    return found


def scan() -> bool:
    """Returns True if all findings are accepted."""
    with injectable_server() as url:
        planted = {one.rule for one in read_report(wapiti(f"{url}/", PLANTED_MODULES))}
    if not {"sql-injection", "reflected-cross-site-scripting"} <= planted:
        raise ScanError(f"wapiti does not find the planted injections; found {sorted(planted) or 'nothing'}")
    with serving() as server, tempfile.TemporaryDirectory(prefix="scan-") as folder:
        document = json.loads(ask(f"{server.url}/openapi.json")[1])
        document["paths"] = {path: _lasting(methods) for path, methods in document["paths"].items()}
        path = Path(folder) / "openapi.json"
        path.write_text(json.dumps(document))
        authorization = {"Authorization": f"Bearer {server.staff_token}"}
        header = "".join(f"{name}: {value}" for name, value in authorization.items())
        results = wapiti(f"{server.url}/", MODULES, "--swagger", str(path), "--header", header)
        requests = sum(" INFO " in line for line in server.log.read_text().splitlines())
        status, _ = ask(f"{server.url}/api/v1/users/me/", headers=authorization)
    if status != 200:
        raise ScanError("the session ended before wapiti did, so the scan is incomplete")
    (DIST / "wapiti.json").write_text(json.dumps(results, indent=1))
    cut_off = re.findall(
        r"^Max attack time was reached for module (\w+)", (DIST / "wapiti.log").read_text(), re.MULTILINE
    )
    pages = results["infos"]["crawled_pages_nbr"]
    looked_at = f"{pages} addresses, {len(MODULES)} modules, {requests:,} requests"
    if cut_off:
        looked_at += f"; cut off after {MODULE_SECONDS} s: {', '.join(cut_off)}"
    return report("wapiti", looked_at, read_report(results), ACCEPTED)


def _lasting(methods: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in methods.items() if one["operationId"] not in ENDING}
