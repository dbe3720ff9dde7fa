"""The mutated modules and the tests that must fail for their mutants."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Module:
    """A module with its tests. Paths are relative to the root of the repository."""

    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.removeprefix("src/").removesuffix(".py")


def _core(name: str, *more_tests: str) -> Module:
    folder, _, file = f"tests/unit/core/{name}".rpartition("/")
    path = f"src/movie_core/{name}.py"
    return Module(path, (f"{folder}/test_{file}.py", "tests/unit/core/test_values.py", path, *more_tests))


GROUPS = {
    "core rules": (
        _core("paging"),
        _core("quotas", "tests/unit/core/operations/test_rate_limits.py"),
        _core("text", "tests/unit/core/search/test_movies.py"),
        _core("single_flight"),
        _core("search/caching"),
        _core("search/retry_policy"),
        _core("accounts/identifiers"),
        _core("accounts/password_rules"),
        _core("accounts/sessions"),
        _core("accounts/outbox"),
        _core("operations/rate_limits"),
        _core("discovery/events"),
        _core("discovery/personal_ranking"),
        _core("discovery/ratings"),
        _core("discovery/trending"),
    ),
    "tokens": (
        _core("accounts/keyring"),
        Module("src/movie_adapters/security/jwt.py", ("tests/unit/adapters/security/test_jwt.py",)),
    ),
    "response cache": (
        Module("src/movie_api/response_cache.py", ("tests/unit/api/test_response_cache.py",)),
        Module("src/movie_api/middleware/response_cache.py", ("tests/unit/api/middleware/test_response_cache.py",)),
    ),
}
