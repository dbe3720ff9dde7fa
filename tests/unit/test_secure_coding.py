"""Secure coding rules for all source files, checked by parsing them; nothing is run."""

import ast
import re

import pytest
from tests.support.source_code import SRC, called, imported, importers, nodes, trees

FORBIDDEN = {
    "other programs": {"subprocess", "pty", "pexpect"},
    "deserialization that can run code": {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"},
    "XML": {"xml", "lxml", "defusedxml", "xmltodict", "bs4"},
    "native code": {"ctypes", "cffi"},
    "interpreters of other query languages": {"ldap", "ldap3", "memcache", "pymemcache", "graphql", "strawberry"},
    "old or weak cryptography": {"crypt", "Crypto", "pycrypto", "rsa", "md5", "sha"},
}
DYNAMIC = {"eval", "exec", "compile", "__import__", "execfile"}
OS_CALLS = {
    "system",
    "popen",
    "execv",
    "execve",
    "execvp",
    "execl",
    "execlp",
    "spawnl",
    "spawnv",
    "posix_spawn",
    "fork",
}
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|WHERE|PRAGMA|SET LOCAL|ORDER BY|NOT IN)\b")
SQL_PARTS = {
    "COLUMNS", "LOCK_SECONDS", "column", "condition", "marks", "name", "number", "order", "pragma", "rank", "table",
    "told", "where",
}  # fmt: skip
"""Allowed in f-strings of SQL: names of tables and columns, conditions, parameter counts; all constants."""
MAY_USE_RANDOM = {
    "movie_adapters/sources/cached.py",  # jitter
    "movie_adapters/sources/resilient.py",  # jitter
    "movie_standin/server.py",  # simulated failures
    "movie_api/context.py",  # request ids
    "movie_core/testing/analytics.py",
    "movie_core/testing/cache_store.py",
    "movie_core/testing/event_store.py",
    "movie_core/testing/trend_store.py",
}
"""Modules that may use the predictable generator `random`, because none of their values is a secret."""
CLIENT_USERS = {
    "aiosmtplib": {"movie_adapters/email/smtp.py"},
    "asyncpg": {"movie_adapters/catalogue/postgres.py", "movie_adapters/sql/tables.py"},
    "httpx": {"movie_adapters/sources/http.py", "movie_adapters/sources/tmdb.py", "movie_worker/task_dashboard.py"},
    "redis": {
        "movie_adapters/redis/client.py",
        "movie_adapters/redis/task_broker.py",
        "movie_adapters/redis/task_queue.py",
        "movie_adapters/wiring/health_checks.py",
        "movie_adapters/wiring/providers.py",
    },
}
"""Client libraries of other servers, and the modules that may import them."""
OTHER_CLIENTS = {"aiohttp", "ftplib", "paramiko", "pycurl", "requests", "smtplib", "telnetlib", "urllib3", "websockets"}
CRYPTOGRAPHY = {"argon2", "hashlib", "hmac", "jwt", "secrets", "ssl"}


def is_constant(node: ast.expr) -> bool:
    """Returns whether an expression consists of constants, and of values escaped with `re.escape`."""
    match node:
        case ast.Constant():
            return True
        case ast.BinOp(left=left, right=right):
            return is_constant(left) and is_constant(right)
        case ast.JoinedStr(values=values):
            return all(is_constant(value) for value in values)
        case ast.FormattedValue(value=value) | ast.Starred(value=value):
            return is_constant(value)
        case ast.Call():
            return called(node) == ("re", "escape")
        case ast.Name(id=name):
            return name.lstrip("_").isupper()
    return False


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_dangerous_modules_are_not_imported(kind: str) -> None:
    assert {package: importers(package) for package in FORBIDDEN[kind] if importers(package)} == {}


def test_no_text_is_executed_as_code_or_a_command() -> None:
    for path, node in nodes(ast.Call):
        owner, name = called(node)
        assert not (owner in ("", "builtins") and name in DYNAMIC), (path, node.lineno)
        assert not (owner == "os" and name in OS_CALLS), (path, node.lineno)


def test_sql_statements_are_constants() -> None:
    """Values are passed as parameters. The contract suites test unusual values on both databases."""
    found = 0
    for path, node in nodes(ast.JoinedStr):
        text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        if SQL.search(text):
            found += 1
            parts = {ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)}
            assert parts <= SQL_PARTS, (path, node.lineno)
    assert found > 20
    for path, call in nodes(ast.Call):
        owner, name = called(call)
        assert not (name == "format" and SQL.search(owner)), (path, call.lineno)
    for path, joined in nodes(ast.BinOp):
        if isinstance(joined.op, ast.Add | ast.Mod) and isinstance(joined.left, ast.Constant):
            is_sql = isinstance(joined.left.value, str) and SQL.match(joined.left.value)
            assert not is_sql or is_constant(joined.right), (path, joined.lineno)


def test_regex_patterns_are_constants_with_escaped_values() -> None:
    found = 0
    for path, node in nodes(ast.Call):
        owner, name = called(node)
        if owner == "re" and name != "escape":
            found += 1
            # built in the line before from constants and an escaped value, see the last assertion
            is_named = path == "movie_api/request_body.py" and ast.unparse(node.args[0]) == "pattern"
            is_number = path == "movie_adapters/catalogue/ranking.py" and "{number}" in ast.unparse(node.args[0])
            assert is_constant(node.args[0]) or is_named or is_number, (path, node.lineno)
    assert found > 50
    assert "pattern = re.escape(media_type) + " in (SRC / "movie_api/request_body.py").read_text()


def test_format_strings_and_log_messages_are_constants() -> None:
    for path, node in nodes(ast.Call):
        owner, name = called(node)
        if name in ("format", "format_map") and owner not in ("self", "msgspec.json"):
            assert is_constant(node.func.value), (path, node.lineno)  # type: ignore[attr-defined]
        if owner in ("_log", "_access") and name != "isEnabledFor":
            assert isinstance(node.args[0], ast.Constant), (path, node.lineno)
    for path, applied in nodes(ast.BinOp):
        if isinstance(applied.op, ast.Mod):  # string formatting, or arithmetic
            is_text = isinstance(applied.right, ast.Tuple | ast.Dict)
            assert not is_text or is_constant(applied.left), (path, applied.lineno)


def test_secrets_come_from_a_cryptographic_random_generator() -> None:
    assert importers("random") == MAY_USE_RANDOM
    seeded = {path for path, node in nodes(ast.Attribute) if node.attr == "random" and ast.unparse(node) == "np.random"}
    assert seeded == {"movie_adapters/recommender/ease_model.py", "movie_adapters/recommender/evaluation.py"}
    assert {"movie_core/accounts/keyring.py", "movie_adapters/security/argon2.py"} <= importers("secrets")


def test_weak_hash_functions_are_used_only_without_security_purpose() -> None:
    used = [(node, called(node)[1]) for _, node in nodes(ast.Call) if called(node)[0] == "hashlib"]
    assert {name for _, name in used} == {"sha256", "blake2b", "sha1"}
    for node, name in used:
        if name == "sha1":  # the id of a script in Redis
            assert [(word.arg, ast.unparse(word.value)) for word in node.keywords] == [("usedforsecurity", "False")]


def test_secrets_are_compared_in_constant_time() -> None:
    assert "hmac.compare_digest(received, expected)" in (SRC / "movie_adapters/observability/metrics.py").read_text()
    assert "self._jwt.decode(" in (SRC / "movie_adapters/security/jwt.py").read_text()


def test_cryptography_comes_from_known_libraries() -> None:
    known = CRYPTOGRAPHY | {"nacl", "bcrypt", "passlib", "cryptography", "OpenSSL", "authlib", "jose", "scrypt"}
    assert {name.partition(".")[0] for _, name in imported()} & known == CRYPTOGRAPHY


def test_network_connections_are_opened_only_in_listed_modules() -> None:
    for package, modules in CLIENT_USERS.items():
        assert importers(package) == modules
    assert {package for package in OTHER_CLIENTS if importers(package)} == set()
    assert {path for path, name in imported() if name in ("urllib.request", "http.client")} == set()
    connecting_calls = {"create_connection", "open_connection", "open_unix_connection"}
    assert {path for path, node in nodes(ast.Call) if called(node)[1] in connecting_calls} <= {
        "movie_adapters/observability/metrics.py"
    }


def test_certificate_verification_is_never_disabled() -> None:
    for path, tree in trees().items():
        text = ast.unparse(tree)
        for word in ("CERT_NONE", "_create_unverified_context", "verify=False", "check_hostname = False"):
            assert word not in text, (path, word)


def test_logs_are_written_only_to_stderr() -> None:
    handlers = re.compile(r"\b(?:\w*FileHandler|SysLogHandler|SocketHandler|DatagramHandler|HTTPHandler|SMTPHandler)\b")
    assert [path for path, tree in trees().items() if handlers.search(ast.unparse(tree))] == []
    configured = {path for path, node in nodes(ast.Call) if called(node) == ("logging", "basicConfig")}
    assert configured == {"movie_adapters/observability/logs.py"}
