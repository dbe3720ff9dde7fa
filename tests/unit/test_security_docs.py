"""The security documents match the code: tables are compared with it, and the tests they name exist."""

import ast
import importlib
import inspect
import re
from collections import Counter
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from tests.support.documents import ROOT
from tests.support.openapi import PATHS, SCHEMAS
from tests.support.security_documents import POLICIES, Table, quoted, section, table, tables
from tests.support.source_code import called, importers, nodes

from movie_adapters.email import files as file_mail
from movie_adapters.security import password_strength
from movie_adapters.security.argon2 import Argon2PasswordHasher
from movie_adapters.settings.settings import Settings, reference
from movie_adapters.sql import account_data as sql_account_data
from movie_adapters.sql import audit as sql_audit
from movie_adapters.sql import events as sql_events
from movie_adapters.sql import models as sql_models
from movie_adapters.sql import personal_orders as sql_orders
from movie_adapters.sql import ratings as sql_ratings
from movie_adapters.sql import tables as sql_tables
from movie_adapters.sql import training_ratings as sql_training
from movie_adapters.sql import trends as sql_trends
from movie_adapters.sql.engine import metadata
from movie_core.accounts import password_rules, sessions
from movie_core.discovery import analytics
from movie_core.operations import audit

ASVS = "docs/security.md"
GOAL = 0.9
"""Share of the applicable requirements that a test must show, those left out that need what comes later."""
LATER = ("needs MFA: ", "needs federation: ")
"""How the reason begins where a second factor or a login elsewhere is needed."""
ACCOUNT_SERVICES = {f"movie_core/accounts/{name}.py" for name in ("login", "passwords", "registration")}
VERDICTS = ("satisfied", "not applicable", "open")

LEVELS = """
1.1:22 1.2:1111122223 1.3:112222222223 1.4:222 1.5:123 2.1:122 2.2:112 2.3:12223 2.4:23 3.1:3 3.2:113 3.3:12223
3.4:11222233 3.5:11122333 3.6:3 3.7:22333 4.1:12233 4.2:23333 4.3:22 4.4:1222 5.1:2 5.2:112333 5.3:113 5.4:222
6.1:122 6.2:111111112222 6.3:11223333 6.4:112233 6.5:22222333 6.6:2223 6.7:33 6.8:2222 7.1:222 7.2:1111 7.3:22
7.4:11222 7.5:223 7.6:22 8.1:1233 8.2:1123 8.3:133 8.4:23 9.1:111 9.2:1222 10.1:22 10.2:223 10.3:22223
10.4:1111122222233333 10.5:22222 10.6:22 10.7:222 11.1:2233 11.2:22233 11.3:11233 11.4:1222 11.5:23 11.6:23
11.7:33 12.1:12233 12.2:11 12.3:22223 13.1:2333 13.2:222223 13.3:2233 13.4:1222233 14.1:22 14.2:12223333 14.3:122
15.1:12233 15.2:12233 15.3:1222222 15.4:3333 16.1:2 16.2:22222 16.3:2222 16.4:222 16.5:2223 17.1:23 17.2:22223333
17.3:22
"""
"""Of each section of OWASP ASVS 5.0.0 the levels of its requirements, in their order."""
REQUIRED = {
    f"V{section}.{number}": level
    for section, levels in (one.split(":") for one in LEVELS.split())
    for number, level in enumerate(levels, 1)
    if level in "12"
}
"""The requirements of levels 1 and 2."""

TEST = re.compile(r"((?:tests|src)/[\w/]+\.py)::(?:(\w+)::)?(test_\w+)")


@cache
def defined_tests(path: str) -> set[str]:
    """Returns the names of the tests in a file; a method is named `Class::test`."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in tree.body if isinstance(node, functions)}
    for one in tree.body:
        if isinstance(one, ast.ClassDef):
            found |= {f"{one.name}::{node.name}" for node in one.body if isinstance(node, functions)}
    return found


def requirements() -> Table:
    return [row for heading, found in tables(ASVS).items() if re.match(r"V\d+ ", heading) for row in found[0]]


def chapter(row: dict[str, str]) -> str:
    return row["number"].partition(".")[0]


# --- OWASP ASVS


def test_every_requirement_of_levels_1_and_2_has_one_row() -> None:
    assert len(REQUIRED) == 253
    assert {row["number"]: row["level"] for row in requirements()} == REQUIRED
    assert [row["number"] for row in requirements()] == list(REQUIRED)


def test_every_row_is_in_the_table_of_its_chapter() -> None:
    for heading, found in tables(ASVS).items():
        if re.match(r"V\d+ ", heading):
            assert {chapter(row) for row in found[0]} == {heading.split()[0]}


@pytest.mark.parametrize("row", requirements(), ids=lambda row: row["number"])
def test_a_row_has_a_verdict_and_its_evidence(row: dict[str, str]) -> None:
    assert row["verdict"] in VERDICTS
    assert row["how or why"].endswith(".")
    named = quoted(row["tests"])
    for one in named:
        match = TEST.fullmatch(one)
        assert match is not None, one
        assert one.partition("::")[2] in defined_tests(match[1]), one
    assert len(named) == len(set(named))
    assert row["tests"] == ", ".join(f"`{one}`" for one in named)
    match row["verdict"]:
        case "satisfied":
            assert named, "a satisfied requirement names a test"
        case "open":
            reason = row["how or why"]
            for later in LATER:
                reason = reason.removeprefix(later)
            assert reason.startswith(("planned", "accepted"))
    if row["verdict"] != "open":
        assert not row["how or why"].startswith((*LATER, "planned", "accepted"))


def test_the_counts_are_those_of_the_rows() -> None:
    rows = requirements()
    expected = []
    for name in [*dict.fromkeys(map(chapter, rows)), "all"]:
        counts = Counter(row["verdict"] for row in rows if name in ("all", chapter(row)))
        later = sum(row["how or why"].startswith(LATER) for row in rows if name in ("all", chapter(row)))
        expected.append([name, *(str(counts[verdict]) for verdict in VERDICTS), str(later)])
    assert [list(row.values()) for row in table(ASVS, "OWASP ASVS 5.0, levels 1 and 2")] == expected


def test_nine_of_ten_applicable_requirements_are_verified_by_a_test() -> None:
    now = [row for row in requirements() if not row["how or why"].startswith(LATER)]
    counts = Counter(row["verdict"] for row in now)
    assert counts["satisfied"] / (counts["satisfied"] + counts["open"]) >= GOAL


@pytest.mark.parametrize("page", [ASVS, POLICIES])
def test_every_test_named_in_the_documents_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = [one for one in quoted(text) if "::" in one]
    assert named
    for one in named:
        match = TEST.fullmatch(one)
        assert match is not None, one
        assert one.partition("::")[2] in defined_tests(match[1]), one


# --- policies


def number_of(text: str) -> int:
    """Parses amounts like `64 KiB` and `5,000`."""
    amount, _, unit = text.partition(" ")
    return int(amount.replace(",", "")) * {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]


def constant(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def default_of(setting: str) -> str:
    return next(default.strip("`") for name, default, _ in reference() if name == setting)


def assert_names_tests(rows: Table) -> None:
    for row in rows:
        assert TEST.fullmatch(row["test"].strip("`")), row  # their existence is tested above


def test_the_limits_are_those_of_the_code() -> None:
    rows = table(POLICIES, "Input")
    assert len(rows) > 15
    for row in rows:
        assert number_of(row["value"]) == constant(row["constant"].strip("`")), row["limit"]


def test_cross_field_validation_rules_name_their_tests() -> None:
    rows = table(POLICIES, "Input", 1)
    assert len(rows) > 5
    assert_names_tests(rows)


def test_the_upload_is_described() -> None:
    usual = {"application/json", "application/x-www-form-urlencoded"}
    uploads = {
        f"{method.upper()} {path}": set(operation["requestBody"]["content"])
        for path, operations in PATHS.items()
        for method, operation in operations.items()
        if set(operation.get("requestBody", {}).get("content", ())) - usual
    }
    [(route, types)] = uploads.items()
    text = section(POLICIES, "Uploads")
    assert f"`{route}` is the only upload" in text
    assert types <= set(quoted(text))


def fields_of(operation: dict[str, Any]) -> set[str]:
    """Returns the names of the fields in the request body of an operation."""
    content = operation.get("requestBody", {}).get("content", {}).values()
    names = [one["schema"].get("$ref", "").rpartition("/")[2] for one in content]
    return {field for name in names if name for field in SCHEMAS[name].get("properties", {})}


def issues_tokens(operation: dict[str, Any]) -> bool:
    content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    schema = SCHEMAS.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
    return {"access", "refresh"} <= set(schema.get("properties", {}))


def test_the_authentication_pathways_are_those_of_the_api() -> None:
    """A pathway is an operation that checks a password or issues tokens; a registration does neither."""
    secret = {"password", "new_password", "old_password", "refresh"}
    found = {
        f"{method.upper()} {path}".replace("/api/v1/", "")
        for path, operations in PATHS.items()
        for method, operation in operations.items()
        if issues_tokens(operation) or fields_of(operation) & secret
    }
    named = {one for row in table(POLICIES, "Authentication") for one in quoted(row["pathway"])}
    assert {one for one in named if not one.startswith("movie-search")} == found - {"POST authentication/register/"}


def test_anti_guessing_controls_name_existing_settings() -> None:
    text = section(POLICIES, "Authentication")
    settings = {name for name, _, _ in reference()}
    assert {one for one in quoted(text) if one.startswith("MOVIE_")} <= settings
    assert f"(`MOVIE_LIMIT_LOGIN`, default `{default_of('MOVIE_LIMIT_LOGIN')}`)" in " ".join(text.split())
    assert "No account is locked." in text


def test_the_context_specific_password_words_are_those_of_the_code() -> None:
    sentence = section(POLICIES, "Authentication").partition("Words that a password may not be based on")[2]
    assert tuple(quoted(sentence)) == password_rules._PRODUCT


def test_the_rules_of_sessions_are_those_of_the_code() -> None:
    for row in table(POLICIES, "Sessions"):
        name = row["constant or setting"].strip("`")
        assert row["value"] == (default_of(name) if name.startswith("MOVIE_") else str(constant(name))), row["rule"]
    assert Settings.load({}, dotenv=None).session_ttl <= timedelta(days=30).total_seconds()


def test_the_fields_are_those_of_the_schemas() -> None:
    written = {"Profile": "ProfileChange", "User": "UserChange", "Rating": "NewRating"}
    for row in table(POLICIES, "Authorization", 1):
        schema = row["schema"].strip("`")
        assert quoted(row["reads"]) == list(SCHEMAS[schema]["properties"])
        assert SCHEMAS[schema]["additionalProperties"] is False
        changes = SCHEMAS[written[schema]] if schema in written else {"properties": {}, "additionalProperties": False}
        assert quoted(row["writes"]) == list(changes["properties"])
        assert changes["additionalProperties"] is False


def test_the_secrets_are_those_of_the_settings() -> None:
    secret = [
        f"MOVIE_{name.upper()}" for name, one in Settings.__dataclass_fields__.items() if one.metadata.get("secret")
    ]
    assert sorted(row["secret"].strip("`") for row in table(POLICIES, "Cryptography")) == sorted(secret)
    text = section(POLICIES, "Cryptography")
    for step in ("Generation", "Distribution and storage", "Use", "Rotation", "Compromise", "Destruction"):
        assert f"**{step}**: " in text


def test_the_algorithms_are_those_of_the_code() -> None:
    def users_of(*packages: str) -> set[str]:
        return {path for package in packages for path in importers(package)}

    def hashing_by(name: str) -> set[str]:
        return {path for path, node in nodes(ast.Call) if called(node) == ("hashlib", name)}

    defaults = {name: one.default for name, one in inspect.signature(Argon2PasswordHasher).parameters.items()}
    memory, passes, lanes = defaults["memory_cost"] >> 10, defaults["time_cost"], defaults["parallelism"]
    argon2 = f"Argon2id ({memory} MiB, {passes} passes, {lanes} lane, salt of 16 bytes, hash of 32 bytes)"
    found = {
        argon2: users_of("argon2"),
        "HMAC with SHA-256": users_of("hmac", "jwt"),
        "SHA-256": hashing_by("sha256"),
        "BLAKE2b": hashing_by("blake2b"),
        "SHA-1": hashing_by("sha1"),
        "random numbers of the operating system": users_of("secrets"),
        "TLS 1.2 and 1.3": users_of("ssl"),
    }
    shipped = {name: {path for path in paths if "/memory/" not in path} for name, paths in found.items()}
    assert {row["algorithm"]: set(quoted(row["modules"])) for row in table(POLICIES, "Cryptography", 1)} == shipped


def movie_tables() -> set[str]:
    """Returns the tables of the movies, including a full-text index. They are defined only in a migration."""
    text = (ROOT / "src/movie_adapters/sql/migrations/versions/0001_movies.py").read_text(encoding="utf-8")
    return set(re.findall(r'create_table\(\s*"(\w+)"', text)) | set(re.findall(r"CREATE VIRTUAL TABLE (\w+)", text))


def test_every_table_has_a_level_of_protection() -> None:
    assert all(
        (sql_audit, sql_events, sql_models, sql_orders, sql_ratings, sql_tables, sql_training, sql_trends)
    )  # these modules define all tables
    rows = table(POLICIES, "Data", 1)
    places = Counter(one for row in rows for one in quoted(row["where"]))
    assert {one.partition(".")[0] for one in places if "/" not in one} == set(metadata.tables) | movie_tables()
    assert set(places.values()) == {1}
    assert {row["level"] for row in rows} == {row["level"] for row in table(POLICIES, "Data")}
    columns = {f"{one.name}.{column.name}" for one in metadata.tables.values() for column in one.columns}
    secret = {one for row in rows if row["level"] == "secret" for one in quoted(row["where"])}
    assert {one for one in secret if "." in one} <= columns
    assert {one for one in columns if one.endswith(".password_hash")} <= secret


def test_every_protection_level_is_described() -> None:
    rows = table(POLICIES, "Data")
    assert [row["level"] for row in rows] == ["secret", "account", "personal", "internal", "public"]
    assert all(row["protection"] for row in rows)
    retention = {row["data"]: row["deleted after"] for row in table(POLICIES, "Data", 1)}
    days = {
        "emails": sql_account_data.SENT_MAIL_RETENTION,
        "hashes of tokens": sql_account_data.LINK_RETENTION,
        "accounts and registrations": sql_account_data.LINK_RETENTION,
        "ended sessions": sql_account_data.ENDED_SESSION_RETENTION,
        "audit log": audit.RETENTION,
        "events and interactions": analytics.FIGURES_RETENTION,
        "figures by day": analytics.FIGURES_RETENTION,
    }
    for data, time in days.items():
        assert re.search(rf"\b{time.days} days?\b", retention[data]), data
    assert f"the newest {file_mail.MAX_FILES:,} files" in retention["emails"]
    assert f"the {sessions.MAX_NETWORKS} newest networks" in retention["sessions, networks of logins"]


def test_the_log_inventory_is_that_of_the_code() -> None:
    text = section(POLICIES, "Logs")
    names = {path.partition("/")[0] for path, node in nodes(ast.Call) if called(node) == ("logging", "getLogger")}
    for package in names - {"movie_cli"}:  # which logs nothing itself
        assert package in text
    messages = [
        node.args[0].value
        for path, node in nodes(ast.Call)
        if path in ACCOUNT_SERVICES and called(node)[0] == "_log" and isinstance(node.args[0], ast.Constant)
    ]
    beginnings = set(quoted(text.partition("Security events in the log")[2].partition(". ")[0]))
    assert {re.split(r"[:,]", str(message))[0] for message in messages} == beginnings
    assert f"{audit.RETENTION.days} days" in text


def test_the_connections_are_those_of_the_settings() -> None:
    named = [row["setting"].strip("`") for row in table(POLICIES, "Connections")]
    assert sorted(named) == sorted(name for name, _, _ in reference() if name.endswith(("_URL", "_LISTEN")))


def test_costly_functions_name_their_tests() -> None:
    rows = table(POLICIES, "Costly functions")
    assert len(rows) > 8
    assert_names_tests(rows)
    bounds = {row["function"]: row["bound"] for row in rows}
    examined, readings = password_strength.MAX_EXAMINED, password_strength.MAX_READINGS
    assert f"{examined} characters and {readings} readings" in bounds["checking the strength of a new password"]
    places = inspect.signature(Argon2PasswordHasher).parameters["max_waiting"].default
    assert f"a queue of {places}" in bounds["hashing a password"]


def test_every_severity_has_a_time_to_deploy_a_fix() -> None:
    rows = table(POLICIES, "Updates")
    days = [int(re.match(r"(\d+) days", row["deployed within"])[1]) for row in rows]  # type: ignore[index]
    assert days == sorted(days)
    assert [re.findall(r"critical|high|medium|low|no known", row["severity"])[-1] for row in rows] == [
        "critical", "high", "medium", "low", "no known"
    ]  # fmt: skip
