"""Contract of the `PasswordStrength` port."""

import time
from contextlib import AbstractAsyncContextManager

from movie_core.ports import PasswordStrength
from movie_core.testing.shared import clause


class PasswordStrengthContract:
    """Contract of every `PasswordStrength`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[PasswordStrength]:
        raise NotImplementedError

    @clause
    async def test_1_common_passwords_are_weak_and_random_ones_strong(self) -> None:
        async with self.open() as strength:
            for weak in ("", "password", "12345678", "qwertyuiop", "aaaaaaaaaaaa", "Password1"):
                assert strength.score(weak, ()) < 3, weak
            for strong in ("vB7#qLz0!mKd9@Tx", "mauve otter drums quietly under 7 bridges"):
                assert strength.score(strong, ()) >= 3, strong

    @clause
    async def test_1_known_words_weaken_a_password(self) -> None:
        async with self.open() as strength:
            assert strength.score("vorqelbinat", ["vorqelbinat"]) < 3
            assert strength.score("vorqelbinat", ()) > strength.score("vorqelbinat", ["Vorqelbinat"])

    @clause
    async def test_1_any_password_is_scored_within_half_a_second_of_cpu_time(self) -> None:
        async with self.open() as strength:
            for odd in ("a" * 1024, "qwerty123" * 110, "💡" * 256, "\x00" * 20, "\ud800" * 20, "Aa1!" * 256):
                began = time.thread_time()
                assert 0 <= strength.score(odd, ["", "ada@example.com", "\x00"]) <= 4
                assert time.thread_time() - began < 0.5
