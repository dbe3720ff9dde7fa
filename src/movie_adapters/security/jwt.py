"""Access tokens as JSON Web Tokens, signed with HS256; read more strictly than the standard asks for."""

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
MAX_AHEAD = 5
"""Seconds that another process's clock may be ahead."""
MAX_LIFE = 366 * 86400
"""Seconds."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_ID = re.compile(r"[0-9a-f]{32}")


class JwtAccessTokens(AccessTokens):
    """`AccessTokens` of one deployment: only its own keys and issuer count, and nothing is ever fetched."""

    def __init__(self, keys: Keyring, *, issuer: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._kid, self._secret = next(iter(keys.by_id.items()))
        self._issuer = issuer
        self._clock = clock
        self._hmac = HMACAlgorithm(HMACAlgorithm.SHA256)
        self._secrets = {
            kid: secret if isinstance(secret, bytes) else secret.encode() for kid, secret in keys.by_id.items()
        }
        self._kids = {
            jwt.encode({}, key, ALGORITHM, {"kid": kid}).partition(".")[0]: kid for kid, key in keys.by_id.items()
        }
        """Keys by the header as we write it, which spares reading it each time."""

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
        """Every reason to refuse one has the same message."""
        try:
            return self._read(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise InvalidToken("the token is not valid") from None

    def _read(self, token: str) -> AccessClaims:
        compact = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
        if compact is None:
            raise ValueError("not a compact token")
        header, payload, signature = compact.groups()
        kid = self._kids.get(header) or self._kid_of(header)
        # The library's own `decode` takes several times as long, for headers and keys that can't come this far.
        if not self._hmac.verify(f"{header}.{payload}".encode(), self._secrets[kid], _decoded(signature)):
            raise ValueError("not our signature")
        return self._access(_object(_decoded(payload)))

    def _kid_of(self, header: str) -> str:
        """The key that another library's spelling of our header names."""
        members = _object(_decoded(header))
        kid = members.pop("kid", None)
        # Any other member might change what the token means.
        if members not in ({"alg": ALGORITHM}, {"alg": ALGORITHM, "typ": "JWT"}) or not isinstance(kid, str):
            raise ValueError("not our header")
        if kid not in self._secrets:
            raise ValueError("not our key")
        return kid

    def _access(self, claims: dict[str, Any]) -> AccessClaims:
        find = claims.get
        if (find("iss"), find("aud"), find("typ")) != (self._issuer, AUDIENCE, "access"):
            raise ValueError("not meant for us")
        user_id, session_id, token_id = _identifier(find("sub")), _identifier(find("sid")), _identifier(find("jti"))
        issued_at, expires_at = find("iat"), find("exp")
        begins = find("nbf") if "nbf" in claims else issued_at
        # Not isinstance: True is an int to Python.
        if not type(begins) is type(issued_at) is type(expires_at) is int:
            raise ValueError("no times")
        now = self._clock().timestamp()
        if max(issued_at, begins) > now + MAX_AHEAD or expires_at <= now or expires_at - issued_at > MAX_LIFE:
            raise ValueError("not its time")
        return AccessClaims(
            user_id,
            session_id,
            token_id,
            datetime.fromtimestamp(issued_at, UTC),
            datetime.fromtimestamp(expires_at, UTC),
        )


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("no identifier")
    return value


def _decoded(segment: str) -> bytes:
    """The bytes that a segment of base64url spells, in the one way in which they can be spelled."""
    text = segment.encode()
    found = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(found).rstrip(b"=") != text:
        raise ValueError("spelled in another way")
    return found


def _object(text: bytes) -> dict[str, Any]:
    value = _members.decode(text.decode())
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  (one kind of error for all that can be wrong)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member comes twice")
    return value


_members = json.JSONDecoder(object_pairs_hook=_unique)
