"""Access tokens as JSON Web Tokens signed with HS256; validation is stricter than the standard requires."""

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt
from jwt.utils import base64url_decode

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.sessions import AccessClaims
from movie_core.clock import Clock, utc_now
from movie_core.errors import InvalidToken
from movie_core.ports import AccessTokens

if TYPE_CHECKING:
    from jwt.types import Options

AUDIENCE = "movie-api"
ALGORITHM = "HS256"
MAX_TOKEN = 4096
"""Characters."""
MAX_CLOCK_SKEW = 5
"""Seconds of clock skew that are tolerated: how far `iat` and `nbf` may be in the future."""
MAX_LIFETIME = 366 * 86400
"""Seconds between `iat` and `exp`."""

# PyJWT reads the system clock, extends `exp` by its leeway and accepts times that are strings, so `_read_claims` checks
# the times.
_OPTIONS: "Options" = {
    "require": ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "typ"],
    "strict_aud": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
_ID = re.compile(r"[0-9a-f]{32}")


class _UniqueMembersJwt(jwt.PyJWT):
    """PyJWT that rejects duplicate claims instead of using the last."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        return _parse_object(decoded["payload"])


class JwtAccessTokens(AccessTokens):
    """`AccessTokens` that accepts only the configured keys and issuer, and never fetches keys."""

    def __init__(self, keys: Keyring, *, issuer: str, clock: Clock = utc_now) -> None:
        self._kid, self._secret = next(iter(keys.by_id.items()))
        self._secret_by_kid = keys.by_id
        self._issuer = issuer
        self._clock = clock
        self._jwt = _UniqueMembersJwt(_OPTIONS)

    def issue(self, access: AccessClaims) -> str:
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": access.user_id,
            "sid": access.session_id,
            "jti": access.token_id,
            "iat": int(access.issued_at.timestamp()),
            "exp": int(access.expires_at.timestamp()),
            "typ": "access",
        }
        return jwt.encode(claims, self._secret, ALGORITHM, headers={"kid": self._kid})

    def read(self, token: str) -> AccessClaims:
        """Validate a token. Every rejection raises `InvalidToken` with the same message."""
        try:
            return self._read(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise InvalidToken("the token is not valid") from None

    def _read(self, token: str) -> AccessClaims:
        if len(token) > MAX_TOKEN or "=" in token:
            raise ValueError("too long, or padded base64url")
        secret = self._secret_of(token.partition(".")[0])
        claims = self._jwt.decode(token, secret, [ALGORITHM], audience=AUDIENCE, issuer=self._issuer)
        return self._read_claims(claims)

    def _secret_of(self, header: str) -> bytes:
        """Return the secret that the header's `kid` names. `decode` checks its `alg` and encoding."""
        members = _parse_object(base64url_decode(header))
        # Any other header parameter might change the meaning of the token.
        if not members.keys() <= {"alg", "kid", "typ"} or members.get("typ", "JWT") != "JWT":
            raise ValueError("unsupported header")
        kid = members.get("kid")
        if not isinstance(kid, str) or kid not in self._secret_by_kid:
            raise ValueError("unknown kid")
        return self._secret_by_kid[kid]

    def _read_claims(self, claims: dict[str, Any]) -> AccessClaims:
        if claims["typ"] != "access":
            raise ValueError("not an access token")
        user_id, session_id, token_id = _check_id(claims["sub"]), _check_id(claims["sid"]), _check_id(claims["jti"])
        issued_at, expires_at = claims["iat"], claims["exp"]
        not_before = claims.get("nbf", issued_at)
        # Not isinstance: bool is a subclass of int.
        if not type(not_before) is type(issued_at) is type(expires_at) is int:
            raise ValueError("iat, nbf or exp is not an integer")
        now = self._clock().timestamp()
        if (
            max(issued_at, not_before) > now + MAX_CLOCK_SKEW
            or expires_at <= now
            or expires_at - issued_at > MAX_LIFETIME
        ):
            raise ValueError("expired, not yet valid, or valid for too long")
        return AccessClaims(
            user_id,
            session_id,
            token_id,
            datetime.fromtimestamp(issued_at, UTC),
            datetime.fromtimestamp(expires_at, UTC),
        )


def _check_id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("not an id")
    return value


def _parse_object(text: bytes) -> dict[str, Any]:
    value = _json.decode(text.decode())
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  (`read` handles one error type)
    return value


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate member")
    return value


_json = json.JSONDecoder(object_pairs_hook=_reject_duplicates)
