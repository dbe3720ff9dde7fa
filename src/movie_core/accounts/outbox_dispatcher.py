"""Delivery of the outbox: claim, send, and settle each mail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import (
    AWAY_SECONDS,
    BATCH,
    LEASE,
    MAX_ERROR,
    SEND_SECONDS,
    Mail,
    MailRejected,
    MailState,
    MailUnavailable,
    OutgoingEmail,
    _log,
    after_refusal,
    link_url,
)
from movie_core.clock import utc_now
from movie_core.ports import Mailer, Outbox


class OutboxDispatcher:
    """Delivers what is due. Any number of processes may do so at once."""

    def __init__(
        self,
        outbox: "Outbox",
        mailer: "Mailer",
        keys: Keyring,
        *,
        public_url: str,
        owner: str,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`owner` names this process in leases; no two at work have the same."""
        self._outbox = outbox
        self._mailer = mailer
        self._keys = keys
        self._public_url = public_url
        self._owner = owner
        self._clock = clock
        self._failures = 0
        self._pause_until: datetime | None = None
        self._is_delivering = False
        self._is_asked_again = False

    async def deliver_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Send all that is due and not claimed by others; the number that a server has taken or refused.

        Called while it is at work already, it returns at once, and that work looks once more before it ends. It ends
        early when asked to stop, and when no server can be reached: then it returns at once until a pause is over.
        Raises `StoreUnavailable`.
        """
        self._is_asked_again = True
        if self._is_delivering:
            return 0
        self._is_delivering = True
        try:
            settled = 0
            while self._is_asked_again:
                self._is_asked_again = False
                settled += await self._deliver_all(is_stopping)
            return settled
        finally:
            self._is_delivering = False

    async def _deliver_all(self, is_stopping: Callable[[], bool]) -> int:
        settled = 0
        while not is_stopping() and (self._pause_until is None or self._clock() >= self._pause_until):
            claimed = await self._outbox.claim(self._owner, self._clock(), BATCH, LEASE)
            if not claimed:
                break
            until = self._clock() + LEASE
            for place, mail in enumerate(claimed):
                is_late = self._clock() + timedelta(seconds=SEND_SECONDS + 1) > until
                if is_late or is_stopping() or not await self._deliver(mail):
                    await self._outbox.release(self._owner, [one.id for one in claimed[place:]], self._clock())
                    break
                settled += 1
        return settled

    async def _deliver(self, mail: Mail) -> bool:
        """Try to send one mail; False when no server can be reached."""
        links = []
        for link in mail.links:
            token = self._keys.decrypt_token(link.sealed, link.hashed)
            if token is None:
                refused = MailRejected("its links were sealed with a secret that is no longer set", is_final=True)
                await self._outbox.complete(self._owner, after_refusal(mail, refused, self._clock()))
                return True
            links.append(link_url(self._public_url, mail.kind, link.uid, token))
        email = OutgoingEmail(mail.id, mail.kind, mail.recipient, mail.created_at, tuple(links))
        try:
            await self._mailer.send(email)
        except MailRejected as refused:
            settled = after_refusal(mail, refused, self._clock())
            _log.warning("mail %s: %s after %d tries", mail.id, settled.state.value, settled.attempts)
        except MailUnavailable as away:
            wait = AWAY_SECONDS[min(self._failures, len(AWAY_SECONDS) - 1)]
            self._failures += 1
            self._pause_until = self._clock() + timedelta(seconds=wait)
            _log.warning("no mail can be sent, next try in %d s: %s", wait, away.detail)
            # Behind the others, in case it is this one's recipient that the server hangs on.
            await self._outbox.complete(
                self._owner, replace(mail, due_at=self._clock(), last_error=away.detail[:MAX_ERROR])
            )
            return False
        else:
            settled = replace(mail, state=MailState.SENT, attempts=mail.attempts + 1, sent_at=self._clock())
        self._failures = 0
        self._pause_until = None
        await self._outbox.complete(self._owner, settled)
        return True
