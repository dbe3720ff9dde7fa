"""The mutated modules and the tests that must fail for their mutants."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Module:
    """A module and its tests, as arguments of pytest. Paths are relative to the root of the repository."""

    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.removeprefix("src/").removesuffix(".py")


SYNCHRONOUS = ("-m", "not asyncio")
"""Tests of the rules alone, without those of the services that apply them, which take several times as long."""


def _core(name: str, *more_tests: str) -> Module:
    folder, _, file = f"tests/unit/core/{name}".rpartition("/")
    path = f"src/movie_core/{name}.py"
    return Module(path, (f"{folder}/test_{file}.py", "tests/unit/core/test_values.py", path, *more_tests))


MIDDLEWARE_TESTS = "tests/unit/api/middleware/test_response_cache.py"
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
        _core("accounts/sessions", *SYNCHRONOUS),
        _core("accounts/outbox", *SYNCHRONOUS),
        _core("operations/rate_limits"),
        _core("discovery/events", *SYNCHRONOUS),
        _core("discovery/personal_ranking"),
        _core("discovery/ratings"),
        _core("discovery/trending", *SYNCHRONOUS),
    ),
    "tokens": (
        _core("accounts/keyring"),
        Module("src/movie_adapters/security/jwt.py", ("tests/unit/adapters/security/test_jwt.py",)),
    ),
    "response cache": (
        Module("src/movie_api/response_cache.py", ("tests/unit/api/test_response_cache.py",)),
        Module(
            "src/movie_api/middleware/response_cache.py",
            # Those that start no application; the others take 15 s of CPU time.
            (
                f"{MIDDLEWARE_TESTS}::test_the_layer_sends_the_stored_response_and_counts_it_for_its_route",
                f"{MIDDLEWARE_TESTS}::test_the_layer_passes_on_every_other_request_without_counting_it",
                f"{MIDDLEWARE_TESTS}::test_the_layer_passes_on_an_expired_response_and_a_request_without_access",
                f"{MIDDLEWARE_TESTS}::test_the_layer_answers_a_matching_etag_without_body_and_length",
                f"{MIDDLEWARE_TESTS}::test_the_layer_records_the_search_of_its_user",
            ),
        ),
    ),
}
