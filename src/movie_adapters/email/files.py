"""Emails written to files, for deployments without an SMTP server."""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from movie_adapters.email.messages import build_message
from movie_adapters.email.syntax import split_mailbox
from movie_adapters.private_files import make_private_folder
from movie_core.accounts.outbox import MailRejected, MailUnavailable, OutgoingEmail
from movie_core.accounts.users import Address, address_key
from movie_core.ports import Mailer

MAX_FILES = 1000
"""Email files that are stored; the oldest beyond this number are deleted."""
_EMAIL_FILE = re.compile(r"\.?\d{8}T\d{6}Z-[0-9a-f]{16}-.+\.(eml|tmp)", re.ASCII)


def key_of(spelling: str) -> str:
    """Returns the `Address.key` of an `Address.spelling`. Raises `ValueError` for a text that is not an address."""
    return address_key(*split_mailbox(spelling))


class FileMailer(Mailer):
    """`Mailer` that writes each email to an `.eml` file of mode 0600. File names sort by creation time."""

    def __init__(
        self, folder: Path, sender: str, announce: Callable[[str], None] | None, *, max_files: int = MAX_FILES
    ) -> None:
        """The folder is created on first use. `announce` is called with one line for each email or link in it."""
        self._folder = folder
        self._max_files = max_files
        self._sender = sender
        self._announce = announce

    async def send(self, email: OutgoingEmail) -> None:
        try:
            message = build_message(email, self._sender).as_bytes()
            digest = _digest(key_of(email.recipient))
        except ValueError as error:
            raise MailRejected(str(error), is_final=True) from None
        name = f"{email.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}-{email.mail_id}"
        try:
            await asyncio.to_thread(self._write, name, message)
        except OSError as error:
            raise MailUnavailable(f"cannot write emails to MOVIE_DATA_DIR: {error.strerror}") from None
        if self._announce is not None:
            description = f"email to {email.recipient} ({email.kind.value})"
            for line in [f"{description}: {url}" for url in email.links] or [description]:
                self._announce(line)

    async def erase(self, address: Address) -> None:
        await asyncio.to_thread(self._delete, _digest(address.key))

    def _write(self, name: str, message: bytes) -> None:
        make_private_folder(self._folder.parent)
        make_private_folder(self._folder)
        # The random part lets two processes write the same email; the digest in the name lets `erase` find a file that
        # a killed process left temporary.
        temporary = self._folder / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / f"{name}.eml")
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        files = (path for path in self._folder.iterdir() if _EMAIL_FILE.fullmatch(path.name))
        for path in sorted(files, key=lambda path: path.name.lstrip("."))[: -self._max_files]:
            path.unlink(missing_ok=True)

    def _delete(self, digest: str) -> None:
        for path in self._folder.glob(f"*-{digest}-*"):
            if _EMAIL_FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _digest(key: str) -> str:
    """Return the part of a file name that identifies the recipient without showing the address."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
