"""Contract of the `AccessTokens` port."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.sessions import AccessClaims
from movie_core.clock import utc_now
from movie_core.errors import InvalidToken
from movie_core.ports import AccessTokens
from movie_core.testing.shared import ODD_STRINGS, clause


class AccessTokensContract:
    """Contract of every `AccessTokens`. The numbers in test names are the clauses of the port."""

    def open(self, keys: Keyring) -> AbstractAsyncContextManager[AccessTokens]:
        """The adapter under test. All opened adapters belong to the same service and use the system clock."""
        raise NotImplementedError

    @clause
    async def test_1_a_token_returns_the_issued_claims(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            access = self._access()
            assert tokens.read(tokens.issue(access)) == access

    @clause
    async def test_2_any_other_string_is_rejected(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            token = tokens.issue(self._access())
            changed = [
                token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(0, len(token) - 1, 7)
            ]
            for odd in (*ODD_STRINGS, *changed, token + ".", "." + token, token[:-3], f" {token}", token + "\n"):
                self._assert_rejected(tokens, odd)

    @clause
    async def test_2_a_token_is_rejected_outside_its_validity_period(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            access = self._access()
            for shift in (timedelta(hours=-2), timedelta(hours=2)):
                moved = replace(access, issued_at=access.issued_at + shift, expires_at=access.expires_at + shift)
                self._assert_rejected(tokens, tokens.issue(moved))

    @clause
    async def test_2_only_configured_secrets_verify(self) -> None:
        async with (
            self.open(self._keys("a")) as old,
            self.open(self._keys("b", "a")) as both,
            self.open(self._keys("b")) as new,
        ):
            access = self._access()
            assert both.read(old.issue(access)) == access
            assert new.read(both.issue(access)) == access
            self._assert_rejected(new, old.issue(access))

    @staticmethod
    def _keys(*names: str) -> Keyring:
        return Keyring([name * 32 for name in names])

    @staticmethod
    def _access() -> AccessClaims:
        now = utc_now().replace(microsecond=0)
        return AccessClaims(new_id(), new_id(), new_id(), now, now + timedelta(minutes=15))

    @staticmethod
    def _assert_rejected(tokens: AccessTokens, token: str) -> None:
        try:
            tokens.read(token)
        except InvalidToken:
            return
        raise AssertionError(f"{token[:80]!r} was accepted")
