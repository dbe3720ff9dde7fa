"""Tokens, and what is kept of them: hashes, and seals that only the holder of the secret can open."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

TOKEN_BYTES = 32
MIN_SECRET = 32
"""Bytes of a secret."""


def new_id() -> str:
    """A random identifier: 128 bits as 32 hex digits."""
    return secrets.token_hex(16)


def new_token() -> str:
    """256 random bits, fit for a URL."""
    return _text(secrets.token_bytes(TOKEN_BYTES))


def token_hash(token: str) -> str:
    """What is stored in place of a token: its SHA-256, in hex. Any string has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Keyring:
    """The secrets of a deployment: the first signs and seals, all of them verify and open."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """Each secret has at least `MIN_SECRET` bytes in UTF-8; more than one while rotating."""
        self._secrets = tuple(secret.encode() for secret in secret_keys)
        if not self._secrets or min(map(len, self._secrets)) < MIN_SECRET:
            raise ValueError(f"a secret has at least {MIN_SECRET} bytes")
        self.by_id = {hashlib.sha256(secret).hexdigest()[:16]: secret for secret in self._secrets}
        """Each secret under its `kid`: the first 16 hex digits of its SHA-256; the first one signs."""

    def successors(self, refresh_token: str) -> tuple[str, ...]:
        """The token that takes the place of another: derived, so that asking again gives the same though nothing usable
        is stored. One for each secret, as the answer may have been made before a rotation; the first is today's."""
        return tuple(_text(self._mac(secret, "refresh", refresh_token)) for secret in self._secrets)

    def salt(self, *parts: str) -> bytes:
        """16 bytes that are the same for the same parts, and that nobody without the secret can foresee."""
        return self._mac(self._secrets[0], "salt", *parts)[:16]

    def encrypt_token(self, token: str) -> str:
        """A token as it may be stored until it is mailed: useless without a secret. Each token has a pad of its own."""
        pad = self._mac(self._secrets[0], "seal", token_hash(token))
        return bytes(a ^ b for a, b in zip(_bytes(token), pad, strict=True)).hex()

    def decrypt_token(self, sealed: str, hashed: str) -> str | None:
        """The token of that seal and hash; None where no secret at hand fits."""
        for secret in self._secrets:
            pad = self._mac(secret, "seal", hashed)
            token = _text(bytes(a ^ b for a, b in zip(bytes.fromhex(sealed), pad, strict=True)))
            if token_hash(token) == hashed:
                return token
        return None

    @staticmethod
    def _mac(secret: bytes, purpose: str, *parts: str) -> bytes:
        # Length-prefixed, so that no two lists of parts read alike.
        message = b"".join(b"%d:%b" % (len(part), part) for part in (p.encode() for p in (purpose, *parts)))
        return hmac.new(secret, message, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
