"""Random ids and tokens, hashes of tokens, and the keyring that derives and encrypts tokens."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

TOKEN_BYTES = 32
MIN_SECRET = 32
"""Minimum bytes of a secret."""


def new_id() -> str:
    """Returns a random identifier: 128 bits as 32 hex digits."""
    return secrets.token_hex(16)


def new_token() -> str:
    """Returns a random token: 256 bits in URL-safe base64."""
    return _text(secrets.token_bytes(TOKEN_BYTES))


def token_hash(token: str) -> str:
    """Returns the SHA-256 of a token in hex, which is stored instead of the token. Accepts any string."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Keyring:
    """The secrets of a deployment: the first one signs and encrypts, all of them verify and decrypt."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """Each secret has at least `MIN_SECRET` bytes in UTF-8; several are given during a key rotation."""
        self._secrets = tuple(secret.encode() for secret in secret_keys)
        if not self._secrets or min(map(len, self._secrets)) < MIN_SECRET:
            raise ValueError(f"a secret must have at least {MIN_SECRET} bytes")
        self.by_id = {hashlib.sha256(secret).hexdigest()[:16]: secret for secret in self._secrets}
        """Each secret by its `kid`, the first 16 hex digits of its SHA-256; the first one signs."""

    def successors(self, refresh_token: str) -> tuple[str, ...]:
        """Derives the successor of a refresh token, so that a repeated request gets the same token although no usable
        token is stored. Returns one per secret, as the successor may have been issued before a key rotation; the first
        is the current one."""
        return tuple(_text(self._mac(secret, "refresh", refresh_token)) for secret in self._secrets)

    def salt(self, *parts: str) -> bytes:
        """Derives 16 bytes from the parts; unpredictable without the secret."""
        return self._mac(self._secrets[0], "salt", *parts)[:16]

    def encrypt_token(self, token: str) -> str:
        """Encrypts a token for storage until it is emailed, with a pad derived from its hash and the first secret."""
        pad = self._mac(self._secrets[0], "seal", token_hash(token))
        return bytes(a ^ b for a, b in zip(_bytes(token), pad, strict=True)).hex()

    def decrypt_token(self, encrypted: str, expected_hash: str) -> str | None:
        """Returns the token with this hash; None if it was encrypted with none of the secrets."""
        for secret in self._secrets:
            pad = self._mac(secret, "seal", expected_hash)
            token = _text(bytes(a ^ b for a, b in zip(bytes.fromhex(encrypted), pad, strict=True)))
            if token_hash(token) == expected_hash:
                return token
        return None

    @staticmethod
    def _mac(secret: bytes, purpose: str, *parts: str) -> bytes:
        # Length prefixes make the encoding of a list of parts unique.
        message = b"".join(b"%d:%b" % (len(part), part) for part in (p.encode() for p in (purpose, *parts)))
        return hmac.new(secret, message, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
