from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.password_strength import MAX_LOOKED_AT, ZxcvbnStrength
from movie_core.testing import PasswordStrengthContract
from movie_core.users import MIN_STRENGTH

ANY_TEXT = st.text(st.characters(codec=None))


class TestZxcvbnStrength(PasswordStrengthContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[ZxcvbnStrength]:
        yield ZxcvbnStrength()


def test_common_passwords_are_weak_and_a_few_uncommon_words_strong() -> None:
    for weak in ("password1", "iloveyou", "Passw0rd!", "qwertyuiop", "19841984", "letmein123"):
        assert ZxcvbnStrength().score(weak, ()) < MIN_STRENGTH, weak
    assert ZxcvbnStrength().score("violet harbour skates", ()) >= MIN_STRENGTH


def test_only_the_first_characters_are_looked_at() -> None:
    start = "a" * MAX_LOOKED_AT
    assert ZxcvbnStrength().score(start + "vB7#qLz0!mKd9@Tx", ()) == ZxcvbnStrength().score(start, ()) < MIN_STRENGTH


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=5))
def test_any_text_has_a_score(password: str, known: list[str]) -> None:
    assert ZxcvbnStrength().score(password, known) in range(5)
