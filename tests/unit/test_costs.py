"""The time to validate input is at most linear in its size."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from tests.support.api import SECRET
from tests.support.pace import cpu_growth

from movie_adapters.email.syntax import EmailValidatorSyntax
from movie_adapters.security.jwt import JwtAccessTokens
from movie_adapters.security.password_strength import ZxcvbnPasswordStrength
from movie_adapters.security.username_syntax import UnicodeUsernameSyntax
from movie_api.context import RequestHead
from movie_api.middleware.limits import MAX_HEADER_BYTES, MAX_TARGET
from movie_api.request_body import parse_json
from movie_api.response_cache import matches_etag
from movie_api.routes.analytics import prefers_csv
from movie_api.routes.movies import parse_search
from movie_core.accounts.identifiers import parse_address, parse_username
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.password_rules import check_password, normalise_password
from movie_core.accounts.users import Address, Username
from movie_core.discovery.analytics import Days
from movie_core.discovery.events import check_event
from movie_core.discovery.rating_files import parse_ratings
from movie_core.errors import Denied, Invalid, TooManyRows
from movie_core.text import normalise_query, normalise_title

BODY = 64 * 1024
MAX_GROWTH = 8
"""For four times the input; about 4 if the cost is linear. Quadratic implementations took 1 s for the largest input."""

REPEATED = [
    "a", " ", "a ", ".", "a.", "@", "a@", "1", ",", "a,", "(", "(1999", '"', "\\", "/", "[", "%", "a=1&", "tt0",
    "\u0301", "\u1100\u1161", "\ufdfa", "\U0001f468\u200d",
]  # fmt: skip
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANN, SYNTAX, STRENGTH = Address("ann@example.com", "ann@example.com"), EmailValidatorSyntax(), ZxcvbnPasswordStrength()
NAMES = UnicodeUsernameSyntax()
TOKENS = JwtAccessTokens(Keyring([SECRET]), issuer="http://127.0.0.1:8000")


def worst_cases(size: int) -> Iterator[str]:
    """Yields texts of at most `size` bytes; each is the worst case of some check."""
    for unit in REPEATED:
        yield unit * (size // len(unit.encode()))
    yield "a" + " " * (size - 2) + "a"
    yield "the" + " " * (size - 4) + ","
    # Combining marks in the wrong order: normalisation moves each of them past all others.
    yield "a" + "\u0301" * (size // 4 - 1) + "\u0316" * (size // 4)


def check_new_password(text: str) -> None:
    check_password(normalise_password(text), STRENGTH, min_length=8, address=ANN, username=Username("ann", "ann"))


CHECKS: dict[str, tuple[Callable[[str], object], int]] = {
    "address": (lambda text: parse_address(text, SYNTAX), BODY),
    "username": (lambda text: parse_username(text, NAMES), BODY),
    "password": (check_new_password, BODY),
    "query of an event": (lambda text: check_event("view", "1", text, text, 1, NOON, NOON), BODY),
    "query of 3,200 characters": (lambda text: normalise_query(text[:1600] + text[-1600:]), BODY),
    "title of an import": (normalise_title, BODY),
    "file of ratings": (lambda text: parse_ratings(text.encode()), BODY),
    "rows of a file": (lambda text: parse_ratings(b"Const,Your Rating,Title,Year\ntt1,1," + text.encode()), BODY),
    "JSON": (lambda text: parse_json(text.encode()), BODY),
    "JSON text": (lambda text: parse_json(b'{"a": "' + text.encode()), BODY),
    "query string": (lambda text: parse_search(text.encode()), MAX_TARGET),
    "days": (lambda text: Days.parse(text, text, date(2026, 11, 20)), MAX_TARGET),
    "header lines": (
        lambda text: RequestHead([(b"host", text.encode()), (b"x-request-id", text.encode())]),
        MAX_HEADER_BYTES,
    ),
    "access token": (TOKENS.read, MAX_HEADER_BYTES),
    "If-None-Match": (lambda text: matches_etag(text, 'W/"0"'), MAX_HEADER_BYTES),
    "Accept": (lambda text: prefers_csv([text]), MAX_HEADER_BYTES),
}
"""Each check with the maximum size of its input, in bytes."""


def checked(check: Callable[[str], object], text: str) -> Callable[[], None]:
    def run() -> None:
        with suppress(Invalid, Denied, TooManyRows):
            check(text)

    return run


def growths(check: Callable[[str], object], size: int) -> dict[str, float]:
    """How many times more CPU time each worst case of `size` takes than that of a quarter of it."""
    return {
        large[:10]: cpu_growth(checked(check, small), checked(check, large))
        for small, large in zip(worst_cases(size // 4), worst_cases(size), strict=True)
    }


@pytest.mark.parametrize("name", CHECKS)
def test_the_cost_of_a_check_is_at_most_linear_in_its_input(name: str) -> None:
    assert {text: growth for text, growth in growths(*CHECKS[name]).items() if growth > MAX_GROWTH} == {}


def test_the_cost_of_a_password_of_the_maximum_length_is_at_most_linear() -> None:
    assert {text: growth for text, growth in growths(check_new_password, 1024).items() if growth > MAX_GROWTH} == {}
