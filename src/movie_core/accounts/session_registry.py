"""The sessions that have ended, as each process knows them."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from movie_core.clock import utc_now
from movie_core.errors import InvalidToken, StoreUnavailable
from movie_core.ports import SessionStore

OVERLAP = timedelta(seconds=60)
"""How far back each look at ended sessions goes: longer than a transaction is open, and than clocks differ."""
MAX_KNOWN = 200_000
"""Sessions that a process keeps in mind."""
_log = logging.getLogger(__name__)


class SessionRegistry:
    """Knows which sessions live without asking the store for every request.

    A session is looked up once; from then on `poll`, called a few times a second, tells which ones have ended. While
    the store is away, what was known stays in force, and a session not seen before passes: its token proves enough
    until it expires.
    """

    def __init__(self, store: "SessionStore", clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock
        self._live: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._since = clock() - OVERLAP
        self._is_away = False

    def forget(self, session_ids: Sequence[str]) -> None:
        """These have ended: refuse them from now on."""
        for session_id in session_ids:
            self._live.pop(session_id, None)
            self._keep(self._ended, session_id)

    def is_live(self, session_id: str) -> bool:
        """Whether it is known to live; False also where `check` has to find out."""
        return session_id in self._live

    async def check(self, session_id: str) -> None:
        """Raises `InvalidToken` for a session that has ended or never was."""
        if session_id in self._live:
            return
        if session_id not in self._ended and not self._is_away:
            try:
                is_live = await self._store.is_live(session_id)
            except StoreUnavailable:
                self._is_away = True  # the next poll that succeeds takes it back
            else:
                # What ended meanwhile was told to `forget`, and the store's answer may be older than that.
                self._keep(self._live if is_live and session_id not in self._ended else self._ended, session_id)
        if session_id in self._ended:
            raise InvalidToken("the session has ended")

    async def poll(self) -> None:
        """Learn which sessions have ended since the last time. Never raises `StoreUnavailable`."""
        began = self._clock()
        try:
            ended = await self._store.ended_since(self._since - OVERLAP)
        except StoreUnavailable as error:
            if not self._is_away:
                _log.warning("ended sessions can't be read, so tokens are good until they expire: %s", error.detail)
            self._is_away = True
            return
        self._is_away = False
        self._since = began
        self.forget(ended)

    @staticmethod
    def _keep(known: OrderedDict[str, None], session_id: str) -> None:
        known[session_id] = None
        known.move_to_end(session_id)
        if len(known) > MAX_KNOWN:
            known.popitem(last=False)
