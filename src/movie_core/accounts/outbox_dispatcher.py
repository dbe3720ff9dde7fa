"""Delivery of the outbox: claims, sends and completes each email."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import (
    BATCH,
    LEASE,
    MAX_ERROR,
    SEND_SECONDS,
    UNAVAILABLE_SECONDS,
    Mail,
    MailRejected,
    MailState,
    MailUnavailable,
    OutgoingEmail,
    after_rejection,
    link_url,
)
from movie_core.clock import Clock, utc_now
from movie_core.ports import Mailer, Outbox

_log = logging.getLogger(__name__)


class OutboxDispatcher:
    """Delivers due emails. Any number of processes may run it concurrently."""

    def __init__(
        self,
        outbox: Outbox,
        mailer: Mailer,
        keyring: Keyring,
        *,
        public_url: str,
        owner: str,
        clock: Clock = utc_now,
    ) -> None:
        """`owner` identifies this process in leases; no two running processes share it."""
        self._outbox = outbox
        self._mailer = mailer
        self._keyring = keyring
        self._public_url = public_url
        self._owner = owner
        self._clock = clock
        self._failures = 0
        self._paused_until: datetime | None = None
        self._is_delivering = False
        self._is_requested_again = False

    async def deliver_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Sends all emails that are due and not claimed by others; returns how many a server accepted or rejected.

        A call during another one returns 0 immediately and makes the running call check again before it ends. It ends
        early once `is_stopping` returns True, and when no server is reachable; then calls return 0 immediately until a
        delay has passed. Raises `StoreUnavailable`.
        """
        self._is_requested_again = True
        if self._is_delivering:
            return 0
        self._is_delivering = True
        try:
            completed = 0
            while self._is_requested_again:
                self._is_requested_again = False
                completed += await self._deliver_all(is_stopping)
            return completed
        finally:
            self._is_delivering = False

    async def _deliver_all(self, is_stopping: Callable[[], bool]) -> int:
        completed = 0
        while not is_stopping() and (self._paused_until is None or self._clock() >= self._paused_until):
            claimed = await self._outbox.claim(self._owner, self._clock(), BATCH, LEASE)
            if not claimed:
                break
            lease_end = self._clock() + LEASE
            for index, mail in enumerate(claimed):
                is_late = self._clock() + timedelta(seconds=SEND_SECONDS + 1) > lease_end
                if is_late or is_stopping() or not await self._deliver(mail):
                    await self._outbox.release(self._owner, [mail.id for mail in claimed[index:]])
                    break
                completed += 1
        return completed

    async def _deliver(self, mail: Mail) -> bool:
        """Tries to send one email; False if no server is reachable."""
        links = []
        for link in mail.links:
            token = self._keyring.decrypt_token(link.encrypted_token, link.token_hash)
            if token is None:
                rejection = MailRejected("its links were encrypted with a secret that is no longer set", is_final=True)
                await self._outbox.complete(self._owner, after_rejection(mail, rejection, self._clock()))
                return True
            links.append(link_url(self._public_url, mail.kind, link.uid, token))
        email = OutgoingEmail(mail.id, mail.kind, mail.recipient, mail.created_at, tuple(links))
        try:
            await self._mailer.send(email)
        except MailRejected as rejection:
            completed = after_rejection(mail, rejection, self._clock())
            _log.warning("mail %s: %s after %d attempts", mail.id, completed.state.value, completed.attempts)
        except MailUnavailable as error:
            wait = UNAVAILABLE_SECONDS[min(self._failures, len(UNAVAILABLE_SECONDS) - 1)]
            self._failures += 1
            self._paused_until = self._clock() + timedelta(seconds=wait)
            _log.warning("email delivery unavailable, next attempt in %d s: %s", wait, error.detail)
            # Due after the others, in case the server hangs because of this email's recipient.
            await self._outbox.complete(
                self._owner, replace(mail, due_at=self._clock(), last_error=error.detail[:MAX_ERROR])
            )
            return False
        else:
            completed = replace(mail, state=MailState.SENT, attempts=mail.attempts + 1, sent_at=self._clock())
        self._failures = 0
        self._paused_until = None
        await self._outbox.complete(self._owner, completed)
        return True
