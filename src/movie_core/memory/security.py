"""The ports `PasswordHasher`, `AccessTokens` and `PasswordStrength` with the standard library alone."""

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.sessions import AccessClaims
from movie_core.clock import Clock, utc_now
from movie_core.errors import InvalidToken


class MemoryPasswordHasher:
    """A `PasswordHasher` for tests: salted SHA-256, too fast to protect real passwords."""

    _PREFIX = "sha256$"

    async def hash(self, password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        salt = secrets.token_bytes(16) if salt is None else salt
        digest = hashlib.sha256(salt + password.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self._PREFIX}{salt.hex()}${digest}"

    async def verify(self, password: str, password_hash: str | None, *, queue: str = "") -> bool:
        match = re.fullmatch(r"sha256\$([0-9a-f]{32})\$[0-9a-f]{64}", password_hash or "")
        computed = await self.hash(password, salt=bytes.fromhex(match[1]) if match else bytes(16))
        return match is not None and hmac.compare_digest(computed, match[0])

    def is_outdated(self, password_hash: str) -> bool:
        return not password_hash.startswith(self._PREFIX)


class MemoryAccessTokens:
    """`AccessTokens` as JSON with an HMAC, in a format of their own that other adapters reject."""

    def __init__(self, keyring: Keyring, clock: Clock = utc_now) -> None:
        self._secrets = tuple(keyring.by_id.values())
        self._clock = clock

    def issue(self, claims: AccessClaims) -> str:
        values = [
            claims.user_id,
            claims.session_id,
            claims.token_id,
            int(claims.issued_at.timestamp()),
            int(claims.expires_at.timestamp()),
        ]
        body = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        return f"{body}.{self._mac(self._secrets[0], body)}"

    def read(self, token: str) -> AccessClaims:
        body, dot, mac = token.partition(".")
        is_signed = token.isascii() and any(
            hmac.compare_digest(mac, self._mac(secret, body)) for secret in self._secrets
        )
        if not dot or not is_signed:
            raise InvalidToken("the token is not valid")
        user_id, session_id, token_id, issued_at, expires_at = json.loads(base64.urlsafe_b64decode(body))
        claims = AccessClaims(
            user_id,
            session_id,
            token_id,
            datetime.fromtimestamp(issued_at, UTC),
            datetime.fromtimestamp(expires_at, UTC),
        )
        if not claims.issued_at <= self._clock() < claims.expires_at:
            raise InvalidToken("the token has expired")
        return claims

    @staticmethod
    def _mac(secret: bytes, body: str) -> str:
        return hmac.new(secret, b"access" + body.encode(), hashlib.sha256).hexdigest()


_COMMON = frozenset(
    """
    password passwort passw0rd letmein welcome iloveyou dragon monkey football qwerty qwertyuiop asdfghjkl abc123
    admin login master sunshine princess superman 12345678 123456789 1234567890 abcdefgh 1q2w3e4r trustno1
    """.split()  # noqa: SIM905
)
"""Common passwords."""


class PlainPasswordStrength:
    """`PasswordStrength` by a rough estimate of entropy.

    It multiplies the number of distinct characters by the bits of their classes. Each common word, and each of
    `guesses`, counts as one character. For tests only: it overrates passwords of real users.
    """

    def score(self, password: str, guesses: Sequence[str]) -> int:
        remaining = password.casefold()[:100]
        for word in sorted(_COMMON.union(word.casefold() for word in guesses), key=len, reverse=True):
            if len(word) >= 3:
                remaining = remaining.replace(word, "*")
        variety = len(set(remaining))
        classes = sum(
            (
                any(c.islower() for c in password),
                any(c.isupper() for c in password),
                any(c.isdigit() for c in password),
                any(not c.isalnum() for c in password),
            )
        )
        bits = variety * math.log2(8 * max(classes, 1))
        return sum(bits >= threshold for threshold in (12, 24, 36, 48))
