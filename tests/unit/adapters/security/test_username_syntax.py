from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from movie_adapters.security.username_syntax import UnicodeUsernameSyntax
from movie_core.testing import UsernameSyntaxContract


class TestUnicodeUsernameSyntax(UsernameSyntaxContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[UnicodeUsernameSyntax]:
        yield UnicodeUsernameSyntax()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u0455\u0441\u043e\u0440\u0435", "scope"),  # all Cyrillic, each letter by itself looks Latin
        ("\u13d9\u13a2", "VT"),  # Cherokee
        ("\U0001d41a\U0001d41d\U0001d41a", "ada"),  # mathematical bold
        ("ADMlN", "admin"),
        ("rnodern", "modern"),
        ("OO7", "007"),
        ("Strasse", "STRAßE"),
        ("\uff41\uff44\uff4d\uff49\uff4e", "admin"),  # full-width
        ("\u00aadmin", "admin"),
    ],
)
def test_confusable_names_have_the_same_skeleton(one: str, other: str) -> None:
    syntax = UnicodeUsernameSyntax()
    assert syntax.skeleton(one) == syntax.skeleton(other)


@pytest.mark.parametrize("text", ["ねこcat", "猫cat", "Ann\u0430", "\u0391nn"])
def test_combinations_of_scripts_that_no_language_uses_are_rejected(text: str) -> None:
    assert not UnicodeUsernameSyntax().is_of_one_script(text)


@pytest.mark.parametrize("text", ["東京タワー", "서울特別", "נועה", "محمد", "Nguyễn Văn", "नमस्ते 2"])
def test_names_of_many_languages_are_accepted_as_one_script(text: str) -> None:
    assert UnicodeUsernameSyntax().is_of_one_script(text)
