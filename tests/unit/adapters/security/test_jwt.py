import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.security.jwt import MAX_CLOCK_SKEW, JwtAccessTokens
from movie_core.accounts.keyring import Keyring, new_id, new_token
from movie_core.accounts.sessions import AccessClaims
from movie_core.errors import InvalidToken
from movie_core.testing import AccessTokensContract

ISSUER = "https://movies.example.com"
SECRET = "k" * 32
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
YEAR = 366 * 86400


class TestJwtTokens(AccessTokensContract):
    @asynccontextmanager
    async def open(self, keys: Keyring) -> AsyncIterator[JwtAccessTokens]:
        yield JwtAccessTokens(keys, issuer=ISSUER)


def tokens_with(*secrets: str, now: datetime = NOW) -> JwtAccessTokens:
    return JwtAccessTokens(Keyring(secrets or (SECRET,)), issuer=ISSUER, clock=lambda: now)


def make_claims(lifetime: int = 900) -> AccessClaims:
    return AccessClaims(new_id(), new_id(), new_id(), NOW, NOW + timedelta(seconds=lifetime))


def kid_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def claims_of(**changes: Any) -> dict[str, Any]:
    claims = {"iss": ISSUER, "aud": "movie-api", "sub": "a" * 32, "sid": "b" * 32, "jti": "c" * 32}
    return claims | {"iat": AT, "exp": AT + 900, "typ": "access"} | changes


HEADER = {"alg": "HS256", "kid": kid_of(SECRET), "typ": "JWT"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: Any = HEADER, claims: Any = None, secret: str = SECRET, digest: str = "sha256") -> str:
    """A correctly signed token with any header and claims; bytes are used unencoded."""
    parts = [
        one if isinstance(one, bytes) else json.dumps(one).encode()
        for one in (header, claims_of() if claims is None else claims)
    ]
    return sign(".".join(map(b64, parts)), secret, digest)


def sign(signed: str, secret: str = SECRET, digest: str = "sha256") -> str:
    return f"{signed}.{b64(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {one: value for one, value in members.items() if one != name}


def forged_tokens() -> Iterator[tuple[str, str]]:
    """What is wrong with a token, and the token."""
    good = forge()
    header, payload, signature = good.split(".")

    for alg in ("none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", "HS256 ", ""):
        yield f"alg {alg!r}", forge(HEADER | {"alg": alg})
        yield f"alg {alg!r} unsigned", forge(HEADER | {"alg": alg}).rpartition(".")[0] + "."
    for digest in ("sha384", "sha512"):
        yield f"really signed with {digest}", forge(HEADER | {"alg": f"HS{digest[3:]}"}, digest=digest)
        yield f"signed with {digest} under HS256", forge(digest=digest)
    for odd in (None, 256, ["HS256"], {"a": 1}, True):
        yield f"alg {odd!r}", forge(HEADER | {"alg": odd})
    yield "no alg", forge(without(HEADER, "alg"))

    yield "another deployment's key under its kid", forge(HEADER | {"kid": kid_of("o" * 32)}, secret="o" * 32)
    yield "another deployment's key under our kid", forge(secret="o" * 32)
    yield "no kid", forge(without(HEADER, "kid"))
    for kid in ("", "0" * 16, kid_of(SECRET).upper(), kid_of(SECRET) + " ", "../../etc/passwd", "' OR 1=1", "k" * 2500):
        yield f"kid {kid[:20]!r}", forge(HEADER | {"kid": kid})
    for odd in (None, 0, True, [kid_of(SECRET)], {"kid": kid_of(SECRET)}):
        yield f"kid {odd!r}", forge(HEADER | {"kid": odd})
    yield "a kid of 10 kB", forge(HEADER | {"kid": "k" * 10_240})
    yield "the empty key", forge(secret="")

    for name, value in (
        *(("crit", []), ("crit", ["exp"]), ("b64", False), ("b64", True), ("zip", "DEF"), ("cty", "JWT"), ("x", None)),
        *(("jku", "https://evil.example/keys"), ("x5u", "https://evil.example/cert"), ("x5c", ["AAAA"])),
        ("jwk", {"kty": "oct", "k": b64(b"o" * 32)}),
    ):
        yield f"header {name} {value!r}", forge(HEADER | {name: value})
    for odd in ("at+jwt", "jwt", "JWE", "", None, 1, ["JWT"]):
        yield f"header typ {odd!r}", forge(HEADER | {"typ": odd})
    for odd in (b"[]", b"null", b"1", b'"HS256"', b"{", b"\xff", b"", b"[" * 2000, b"1" * 2000):
        yield f"header {odd[:10]!r}", forge(odd)
        yield f"payload {odd[:10]!r}", forge(claims=odd)
    yield "alg twice", forge(b'{"alg":"none",' + json.dumps(HEADER).encode()[1:])
    yield "sub twice", forge(claims=b'{"sub":"' + b"f" * 32 + b'",' + json.dumps(claims_of()).encode()[1:])
    yield "sub twice, once escaped", forge(claims=b'{"\\u0073ub":"x",' + json.dumps(claims_of()).encode()[1:])
    yield "a payload in UTF-16", forge(claims=json.dumps(claims_of()).encode("utf-16"))

    for name in claims_of():
        yield f"no {name}", forge(claims=without(claims_of(), name))
    for name in ("sub", "sid", "jti"):
        for odd in ("", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", "٣" * 32, None, 1, True, ["a" * 32]):
            yield f"{name} {odd!r}", forge(claims=claims_of(**{name: odd}))
    for odd in ("refresh", "Access", "", None, True, ["access"]):
        yield f"typ {odd!r}", forge(claims=claims_of(typ=odd))
    for odd in (["movie-api"], ["movie-api", "x"], "movie-api ", "Movie-API", "other", "", None, {"movie-api": 1}):
        yield f"aud {odd!r}", forge(claims=claims_of(aud=odd))
    for odd in (ISSUER + "/", ISSUER.upper(), "https://evil.example", "", None, [ISSUER]):
        yield f"iss {odd!r}", forge(claims=claims_of(iss=odd))

    for name in ("iat", "exp", "nbf"):
        for odd in (None, True, False, str(AT), AT + 0.5, float(AT), [AT], {"t": AT}, "", 10**20, 1e400, float("nan")):
            yield f"{name} {odd!r}", forge(claims=claims_of(**{name: odd}))
    for name, changes in {
        "expired": {"iat": AT - 900, "exp": AT},
        "expired long ago": {"iat": 0, "exp": 1},
        "from before all time": {"iat": -(10**20)},
        "ended before it began": {"exp": AT - 1},
        "exp 0": {"exp": 0},
        "exp below 0": {"exp": -1},
        "from the future": {"iat": AT + MAX_CLOCK_SKEW + 1},
        "not yet": {"nbf": AT + MAX_CLOCK_SKEW + 1},
        "milliseconds": {"iat": AT * 1000, "exp": (AT + 900) * 1000},
        "for ever": {"exp": AT + YEAR + 1},
        "from 1970 until tomorrow": {"iat": 0, "exp": AT + 86400},
        "a thousand digits": {"iat": 10**1000, "exp": 10**1000 + 1},
    }.items():
        yield name, forge(claims=claims_of(**changes))

    yield "no signature", f"{header}.{payload}."
    yield "two parts", f"{header}.{payload}"
    yield "one part", payload
    yield "four parts", f"{good}.{signature}"
    yield "five parts, as encrypted ones have", f"{header}.AAAA.{payload}.{signature}.AAAA"
    yield "no payload", sign(f"{header}.")
    yield "no header", sign(f".{payload}")
    yield "signature of another token", f"{header}.{payload}.{forge(claims=claims_of(jti='d' * 32)).split('.')[2]}"
    yield "payload of another token", f"{header}.{b64(json.dumps(claims_of(sub='f' * 32)).encode())}.{signature}"
    raw = base64.urlsafe_b64decode(signature + "=")
    for bit in range(0, 256, 17):
        flipped = bytes(byte ^ (1 << bit % 8 if n == bit // 8 else 0) for n, byte in enumerate(raw))
        yield f"bit {bit} flipped", f"{header}.{payload}.{b64(flipped)}"
    yield "a shorter signature", f"{header}.{payload}.{b64(raw[:16])}"
    yield "a longer signature", f"{header}.{payload}.{b64(raw + b'x')}"
    # 32 bytes leave two bits of the last character unused.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield "unused bits are set", good[:-1] + alphabet[alphabet.index(good[-1]) | 1]
    yield "padding", good + "="
    yield "padding inside, signed", sign(f"{b64(json.dumps(HEADER | {'typ': 'JWT'}).encode())}==.{payload}")
    yield "the other base64", f"{header}.{payload}.{'+' + signature[1:]}"
    for blank in (" ", "\n", "\t", "\r\n", "\x00", "\u200b", "\ufeff"):
        yield f"{blank!r} before", blank + good
        yield f"{blank!r} after", good + blank
        yield f"{blank!r} inside", f"{header}{blank}.{payload}.{signature}"
        yield f"{blank!r} inside, signed", sign(f"{header}.{payload[:8]}{blank}{payload[8:]}")
    yield "full-width letters", "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in good)
    yield "surrogates", "\ud800.\ud800.\ud800"
    yield "with its scheme", f"Bearer {good}"
    yield "too long", forge(claims=claims_of(more="x" * 4096))
    yield "a megabyte", "a" * 1_000_000 + "." + good
    yield "nothing", ""
    yield "a refresh token", new_token()
    yield "an encrypted activation token", Keyring([SECRET]).encrypt_token(new_token())
    yield "a refresh token's successor", Keyring([SECRET]).successors(new_token())[0]
    yield "JSON instead of the compact form", json.dumps({"payload": payload, "signature": signature})


def test_every_forged_token_is_rejected_with_the_same_error() -> None:
    tokens, seen = tokens_with(), 0
    for wrong, token in forged_tokens():
        with pytest.raises(InvalidToken) as caught:
            pytest.fail(f"{wrong}: {tokens.read(token)}")
        assert caught.value.detail == "the token is not valid", wrong
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        seen += 1
    assert seen > 250


def tokens_that_pyjwt_accepts() -> Iterator[tuple[str, str]]:
    """For each check of our own, a token that only this check rejects."""
    yield "too long", forge(claims=claims_of(more="x" * 4096))
    yield "padded", forge() + "="
    yield "header with other parameters", forge(HEADER | {"jku": "https://evil.example/keys"})
    yield "header typ", forge(HEADER | {"typ": "at+jwt"})
    yield "duplicate header parameter", forge(b'{"alg":"none",' + json.dumps(HEADER).encode()[1:])
    yield "another kid", forge(HEADER | {"kid": kid_of("o" * 32)})
    yield "duplicate claim", forge(claims=b'{"sub":"' + b"f" * 32 + b'",' + json.dumps(claims_of()).encode()[1:])
    yield "UTF-16", forge(claims=json.dumps(claims_of()).encode("utf-16"))
    yield "typ", forge(claims=claims_of(typ="refresh"))
    for name in ("sub", "sid", "jti"):
        yield f"{name} is no id", forge(claims=claims_of(**{name: "../admin"}))
    for name in ("iat", "exp", "nbf"):
        for odd in (str(AT + 60), AT + 60.5, True):
            yield f"{name} {odd!r}", forge(claims=claims_of(**{name: odd}))
    yield "exp plus leeway", forge(claims=claims_of(iat=AT - 900, exp=AT))
    yield "valid for too long", forge(claims=claims_of(exp=AT + YEAR + 1))


@pytest.mark.parametrize("token", [pytest.param(token, id=wrong) for wrong, token in tokens_that_pyjwt_accepts()])
def test_every_check_of_our_own_is_one_that_pyjwt_lacks(token: str) -> None:
    required: list[str] = list(claims_of())
    assert jwt.decode(
        token,
        SECRET,
        ["HS256"],
        audience="movie-api",
        issuer=ISSUER,
        leeway=10**10,  # so that the system clock does not matter
        options={"require": required, "strict_aud": True},
    )
    with pytest.raises(InvalidToken):
        tokens_with().read(token)


def test_times_are_compared_with_the_given_clock_unlike_in_pyjwt() -> None:
    token = forge(claims=claims_of(iat=0, exp=60))
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, SECRET, ["HS256"], audience="movie-api", issuer=ISSUER)
    assert tokens_with(now=datetime(1970, 1, 1, tzinfo=UTC)).read(token)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iat": AT + MAX_CLOCK_SKEW},
        {"nbf": AT},
        {"exp": AT + 1},
        {"exp": AT + YEAR},
        {"scope": "of a later version"},
    ],
)
def test_the_valid_tokens_that_forgeries_are_derived_from_are_accepted(changes: dict[str, Any]) -> None:
    access = tokens_with().read(forge(claims=claims_of(**changes)))
    assert (access.user_id, access.session_id, access.token_id) == ("a" * 32, "b" * 32, "c" * 32)
    assert tokens_with().read(forge(without(HEADER, "typ"))).expires_at == NOW + timedelta(seconds=900)


def test_issued_tokens_have_the_documented_header_and_claims() -> None:
    access = make_claims()
    token = tokens_with().issue(access)
    assert jwt.get_unverified_header(token) == HEADER
    assert jwt.decode(token, options={"verify_signature": False}) == claims_of(
        sub=access.user_id, sid=access.session_id, jti=access.token_id
    )


def test_a_token_expires_at_exp() -> None:
    token = tokens_with().issue(make_claims(60))
    assert tokens_with(now=NOW + timedelta(seconds=59, microseconds=999_999)).read(token)
    with pytest.raises(InvalidToken):
        tokens_with(now=NOW + timedelta(seconds=60)).read(token)


def test_a_token_of_another_issuer_with_the_same_secret_is_rejected() -> None:
    token = JwtAccessTokens(Keyring([SECRET]), issuer="https://other.example", clock=lambda: NOW).issue(make_claims())
    with pytest.raises(InvalidToken):
        tokens_with().read(token)


def test_key_rotation_accepts_all_configured_keys_and_signs_with_the_first() -> None:
    old, new = "o" * 32, "n" * 32
    access = make_claims()
    of_old, of_both = tokens_with(old).issue(access), tokens_with(new, old).issue(access)
    assert jwt.get_unverified_header(of_both)["kid"] == kid_of(new)
    assert tokens_with(new, old).read(of_old) == tokens_with(old, new).read(of_both) == access
    assert tokens_with(new).read(of_both) == access
    with pytest.raises(InvalidToken):
        tokens_with(new).read(of_old)


def test_validating_a_token_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("opened a connection")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for name in ("jku", "x5u"):
        with pytest.raises(InvalidToken):
            tokens_with().read(forge(HEADER | {name: "https://evil.example/keys"}))


@given(st.text(st.characters(codec=None)))
def test_any_text_is_rejected_in_every_segment(text: str) -> None:
    header, payload, signature = forge().split(".")
    for token in (text, f"{text}.{payload}.{signature}", f"{header}.{text}.{signature}", f"{header}.{payload}.{text}"):
        with pytest.raises(InvalidToken):
            tokens_with().read(token)
