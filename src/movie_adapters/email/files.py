"""Mails as files, for those who run the service without a mail server."""

import asyncio
import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from movie_adapters.email.messages import build_message, split_mailbox
from movie_adapters.private_files import make_private_folder
from movie_core.accounts.outbox import MailRejected, MailUnavailable, OutgoingEmail
from movie_core.accounts.users import Address
from movie_core.ports import Mailer

MAX_FILES = 1000
"""Mails kept; beyond, the oldest are removed."""
_OURS = re.compile(r"\.?\d{8}T\d{6}Z-[0-9a-f]{16}-.+\.(eml|tmp)", re.ASCII)


def address_key(spelling: str) -> str:
    """`Address.key` of an address in the spelling that `parse_address` keeps; raises `ValueError` for no address."""
    local, domain = split_mailbox(spelling)
    return f"{unicodedata.normalize('NFC', local.casefold())}@{domain}"


class FileMailer(Mailer):
    """Writes each mail to an `.eml` file that only the owner may read. The oldest come first by name."""

    def __init__(self, folder: Path, sender: str, announce: Callable[[str], None] | None) -> None:
        """The folder is made when it is needed. `announce` is told of each mail and its links, a line at a time."""
        self._folder = folder
        self._sender = sender
        self._announce = announce

    async def send(self, email: OutgoingEmail) -> None:
        try:
            message = build_message(email, self._sender).as_bytes()
            marked = _mark(address_key(email.recipient))
        except ValueError as error:
            raise MailRejected(str(error), is_final=True) from None
        name = f"{email.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{marked}-{email.mail_id}"
        try:
            await asyncio.to_thread(self._write, name, message)
        except OSError as error:
            raise MailUnavailable(f"no mail can be written in MOVIE_DATA_DIR: {error.strerror}") from None
        if self._announce is not None:
            told = f"mail to {email.recipient} ({email.kind.value})"
            for line in [f"{told}: {url}" for url in email.links] or [told]:
                self._announce(line)

    async def erase(self, address: Address) -> None:
        await asyncio.to_thread(self._remove, _mark(address.key))

    def _write(self, name: str, message: bytes) -> None:
        make_private_folder(self._folder.parent)
        make_private_folder(self._folder)
        # The random part lets two processes write the same mail; its mark lets `erase` find what a killed one left.
        unfinished = self._folder / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / f"{name}.eml")
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        ours = (path for path in self._folder.iterdir() if _OURS.fullmatch(path.name))
        for path in sorted(ours, key=lambda path: path.name.lstrip("."))[:-MAX_FILES]:
            path.unlink(missing_ok=True)

    def _remove(self, marked: str) -> None:
        for path in self._folder.glob(f"*-{marked}-*"):
            if _OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _mark(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
