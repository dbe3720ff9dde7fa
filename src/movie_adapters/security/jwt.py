"""Access tokens as JSON Web Tokens signed with HS256; validation is stricter than the standard requires."""

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.sessions import AccessClaims
from movie_core.clock import utc_now
from movie_core.errors import InvalidToken
from movie_core.ports import AccessTokens

AUDIENCE = "movie-api"
ALGORITHM = "HS256"
MAX_TOKEN = 4096
"""Characters."""
MAX_CLOCK_SKEW = 5
"""Seconds of clock skew that are tolerated: how far `iat` and `nbf` may be in the future."""
MAX_LIFETIME = 366 * 86400
"""Seconds between `iat` and `exp`."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_ID = re.compile(r"[0-9a-f]{32}")


class JwtAccessTokens(AccessTokens):
    """`AccessTokens` that accepts only the configured keys and issuer, and never fetches keys."""

    def __init__(self, keys: Keyring, *, issuer: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._kid, self._secret = next(iter(keys.by_id.items()))
        self._issuer = issuer
        self._clock = clock
        self._hmac = HMACAlgorithm(HMACAlgorithm.SHA256)
        self._secret_by_kid = {
            kid: secret if isinstance(secret, bytes) else secret.encode() for kid, secret in keys.by_id.items()
        }
        self._kid_by_header = {
            jwt.encode({}, key, ALGORITHM, {"kid": kid}).partition(".")[0]: kid for kid, key in keys.by_id.items()
        }
        """Key ids by the encoded header that `issue` writes: avoids decoding the header of every token."""

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
        compact = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
        if compact is None:
            raise ValueError("not in JWS compact serialization")
        header, payload, signature = compact.groups()
        kid = self._kid_by_header.get(header) or self._kid_of(header)
        # `jwt.decode` takes several times as long: it also handles headers and keys that were rejected above.
        if not self._hmac.verify(f"{header}.{payload}".encode(), self._secret_by_kid[kid], _decode(signature)):
            raise ValueError("invalid signature")
        return self._parse_claims(_parse_object(_decode(payload)))

    def _kid_of(self, header: str) -> str:
        """Return the key id of a header that is encoded differently from ours, as by another library."""
        members = _parse_object(_decode(header))
        kid = members.pop("kid", None)
        # Any other header parameter might change the meaning of the token.
        if members not in ({"alg": ALGORITHM}, {"alg": ALGORITHM, "typ": "JWT"}) or not isinstance(kid, str):
            raise ValueError("unsupported header")
        if kid not in self._secret_by_kid:
            raise ValueError("unknown kid")
        return kid

    def _parse_claims(self, claims: dict[str, Any]) -> AccessClaims:
        get = claims.get
        if (get("iss"), get("aud"), get("typ")) != (self._issuer, AUDIENCE, "access"):
            raise ValueError("wrong iss, aud or typ")
        user_id, session_id, token_id = _check_id(get("sub")), _check_id(get("sid")), _check_id(get("jti"))
        issued_at, expires_at = get("iat"), get("exp")
        not_before = get("nbf") if "nbf" in claims else issued_at
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


def _decode(segment: str) -> bytes:
    """Decode a base64url segment. Raises `ValueError` unless it is the canonical encoding."""
    text = segment.encode()
    decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise ValueError("not canonical base64url")
    return decoded


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
