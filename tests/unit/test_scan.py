"""The output of each scanner is parsed correctly; no finding is missed."""

from typing import Any

import pytest
from scan import atheris, bandit, slow, spectral, sqlmap, wapiti
from scan.findings import Finding, ScanError, report, tool
from scan.requests import requests_of
from tests.support.openapi import DOCUMENT

Json = dict[str, Any]


def test_a_finding_is_accepted_by_its_rule_or_by_its_rule_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Finding("R1", "a.py"), Finding("R1", "b.py"), Finding("R2", "a.py"), Finding("R2", "a.py")]
    assert report("it", "2 files", found, {"R1": "why", "R2 a.py": "why too"})
    assert "2 x R2 a.py: why too" in capsys.readouterr().out
    assert not report("it", "2 files", found, {"R1": "why", "R2 b.py": "why too"})
    assert "FOUND R2 at a.py" in capsys.readouterr().out


def test_an_accepted_finding_must_still_occur() -> None:
    assert report("it", "nothing", [], {})
    assert not report("it", "nothing", [], {"R1": "why"})


def test_a_missing_tool_is_named_in_the_error() -> None:
    with pytest.raises(ScanError, match=r"^it is missing: install it$"):
        tool("it", "no-such-program", "install it")


def test_an_unfinished_atheris_run_has_no_result() -> None:
    end = "#20000\tDONE   cov: 91 ft: 160 corp: 53/387b lim: 98 exec/s: 5000 rss: 71Mb\n"
    done = "Done 20000 runs in 4 second(s)\n"
    assert atheris.read_result(f"INFO: Seed: 1\n{end}{done}") == atheris.Result(20_000, 4, 91, 53)
    assert atheris.read_result(f"INFO: Seed: 1\n{end}") is None
    assert atheris.read_result("#5\tNEW    cov: 91 ft: 2 corp: 2/1b\nSUMMARY: libFuzzer: fuzz target exited") is None


def test_bandit_must_have_read_every_file() -> None:
    one = {"test_id": "B101", "filename": "./src/a.py", "line_number": 3, "issue_text": "assert"}
    assert bandit.read_report({"errors": [], "results": [one]}) == [Finding("B101", "src/a.py", "line 3: assert")]
    with pytest.raises(ScanError):
        bandit.read_report({"errors": [{"filename": "src/a.py"}], "results": []})


NOT_INJECTABLE = """\
[00:00:01] [INFO] testing for SQL injection on GET parameter 'query'
[00:00:02] [WARNING] GET parameter 'query' does not seem to be injectable
[00:00:02] [INFO] testing for SQL injection on (custom) POST parameter 'JSON email'
[00:00:03] [WARNING] (custom) POST parameter 'JSON email' does not seem to be injectable
[00:00:03] [CRITICAL] all tested parameters do not appear to be injectable. Try to increase values
"""
INJECTABLE = """\
[00:00:01] [INFO] heuristic (basic) test shows that GET parameter 'title' might be injectable (possible DBMS: 'SQLite')
[00:00:01] [INFO] testing for SQL injection on GET parameter 'title'
[00:00:02] [INFO] GET parameter 'title' appears to be 'AND boolean-based blind' injectable
[00:00:03] [INFO] GET parameter 'title' is vulnerable. Do you want to keep testing the others (if any)? [y/N] N
sqlmap identified the following injection point(s) with a total of 44 HTTP(s) requests:
---
Parameter: title (GET)
"""


FALSE_POSITIVE = """\
[00:00:01] [INFO] testing for SQL injection on PUT parameter 'JSON movie_id'
[00:00:02] [INFO] PUT parameter 'JSON movie_id' appears to be 'AND boolean-based blind' injectable
[00:00:03] [WARNING] false positive or unexploitable injection point detected
[00:00:03] [WARNING] PUT parameter 'JSON movie_id' does not seem to be injectable
[00:00:04] [CRITICAL] all tested parameters do not appear to be injectable. Try to increase values
"""


def test_sqlmap_output_is_parsed() -> None:
    tested = ("GET parameter 'query'", "(custom) POST parameter 'JSON email'")
    assert sqlmap.read_output(NOT_INJECTABLE) == sqlmap.Outcome(tested, (), (), True)
    found = sqlmap.read_output(INJECTABLE)
    assert found.injectable == ("title (GET)", "GET parameter 'title'")
    assert found.suspected == ("GET parameter 'title' might be injectable (possible DBMS: 'SQLite')",)
    assert sqlmap.read_output(FALSE_POSITIVE).injectable == ()
    assert not sqlmap.read_output("[00:00:01] [CRITICAL] unable to connect to the target URL").is_complete


def test_the_sqlmap_requests_cover_every_api_parameter() -> None:
    covered: dict[str, set[str]] = {}
    for request in requests_of(DOCUMENT):
        covered.setdefault(request.operation, set()).update(request.parameters)
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            expected = {one["name"] for one in operation.get("parameters", ())}
            assert expected <= covered.get(operation["operationId"], set()), operation["operationId"]
            assert not operation.get("requestBody") or operation["operationId"] in covered


def test_request_schemas_are_distinguished_from_response_schemas() -> None:
    def body(name: str) -> Json:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    inner = {"properties": {"at": {"$ref": "#/components/schemas/Inner"}}}
    api = {
        "paths": {"/": {"post": {"requestBody": body("Request"), "responses": {"200": body("Response")}}}},
        "components": {"schemas": {"Request": inner, "Inner": {}, "Response": {}}},
    }
    assert spectral.request_schemas(api) == {"Request", "Inner"}
    rule = "owasp:api4:2023-string-limit"
    places = [
        ["components", "schemas", "Inner"],
        ["components", "schemas", "Response"],
        ["paths", "/", "post", "responses"],
    ]
    results = [{"code": rule, "path": place, "message": ""} for place in [*places, places[0]]]
    rules = [one.rule.removeprefix("api4:2023-") for one in spectral.read_results(results, api)]
    assert rules == ["string-limit request", "string-limit response", "string-limit response"]


def test_slowhttptest_connection_states_are_parsed() -> None:
    text = "\x1b[1;32minitializing:\x1b[1;32m        0\n\x1b[1;32mconnected:   \x1b[1;32m        {0}\nclosed:   1\n"
    assert slow.read_output(text.format(3) + text.format(400)) == {"initializing": 0, "connected": 400, "closed": 1}
    assert slow.read_output("") == {}


def test_wapiti_anomalies_are_findings() -> None:
    one = {"method": "GET", "path": "/", "module": "sql", "info": "status 500"}
    results = {"vulnerabilities": {"SQL Injection": [], "CRLF": [one]}, "anomalies": {"Internal Server Error": [one]}}
    assert [found.rule for found in wapiti.read_report(results)] == ["crlf", "internal-server-error"]
