"""A per-process cache of live and ended sessions."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta

from movie_core.clock import Clock, utc_now
from movie_core.errors import InvalidToken, StoreUnavailable
from movie_core.outage_log import OutageLog
from movie_core.ports import SessionRepo

OVERLAP = timedelta(seconds=60)
"""Overlap of consecutive polls; longer than any transaction and than the difference between clocks."""
MAX_CACHED = 200_000
"""Maximum number of live sessions, and of ended ones, that a process caches."""
_log = logging.getLogger(__name__)


class SessionRegistry:
    """Checks sessions without a query per request.

    A session is looked up once. From then on `poll`, to be called a few times per second, reads which sessions have
    ended. While the store is unavailable, cached results stay valid, and sessions that are not cached are accepted, as
    their tokens are unexpired.
    """

    def __init__(self, sessions: SessionRepo, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock
        self._live: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._since = clock() - OVERLAP
        self._outage = OutageLog(
            _log,
            unavailable="ended sessions cannot be read; tokens remain valid until they expire: %s",
            recovered="ended sessions can be read again",
        )

    def mark_ended(self, session_ids: Sequence[str]) -> None:
        """Marks sessions as ended; their tokens are rejected from now on."""
        for session_id in session_ids:
            self._live.pop(session_id, None)
            self._add(self._ended, session_id)

    def is_live(self, session_id: str) -> bool:
        """Returns whether the session is cached as live; False if it has ended, or if `check` must query the store."""
        return session_id in self._live

    async def check(self, session_id: str) -> None:
        """Raises `InvalidToken` for an ended or unknown session."""
        if session_id in self._live:
            return
        if session_id not in self._ended and not self._outage.is_unavailable:
            try:
                is_live = await self._sessions.find(session_id) is not None
            except StoreUnavailable as error:
                self._outage.failed(error.detail)  # until the next successful poll
            else:
                # `mark_ended` may have been called during the query; it is newer than the result of the query.
                self._add(self._live if is_live and session_id not in self._ended else self._ended, session_id)
        if session_id in self._ended:
            raise InvalidToken("the session has ended")

    async def poll(self) -> None:
        """Reads the sessions that have ended since the last poll. Never raises `StoreUnavailable`."""
        started_at = self._clock()
        try:
            ended = await self._sessions.ended_since(self._since - OVERLAP)
        except StoreUnavailable as error:
            self._outage.failed(error.detail)
            return
        self._outage.recovered()
        self._since = started_at
        self.mark_ended(ended)

    @staticmethod
    def _add(cache: OrderedDict[str, None], session_id: str) -> None:
        cache[session_id] = None
        cache.move_to_end(session_id)
        if len(cache) > MAX_CACHED:
            cache.popitem(last=False)
