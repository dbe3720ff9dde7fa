"""The mutated modules and the tests that must fail for their mutants."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Module:
    """A module with its tests: files, or single tests of a file. Paths are relative to the root of the repository."""

    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.removeprefix("src/").removesuffix(".py")


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
