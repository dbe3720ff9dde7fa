"""Ports of operations: rate limiting and the audit log."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from movie_core.operations.audit import AuditEntry, AuditExport
from movie_core.paging import Window
from movie_core.personal_data import PersonalData
from movie_core.quotas import Permits, Quota, Rate


class RateLimiter(Protocol):
    """Counters over sliding windows."""

    @abstractmethod
    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        """1. Counts one hit and returns True with the quota. If any window would exceed the rate, counts nothing and
        returns False. Exact for any number of concurrent callers. Keys of different names are independent. Never
        raises: while the store is unavailable, a fallback counts.
        """

    @abstractmethod
    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        """2. Like `hit`. If allowed, it also takes up to `prefetch` of the remaining permits for the caller, who may
        use them within `seconds` after making the call. They count as if used at the end of that time, so that no
        window ever exceeds the rate. The quota's `remaining` excludes them.
        3. `returned` are permits of an earlier call with the number of unused ones. The unused ones no longer count;
        the others count as if used now at the latest. Unknown permits have no effect.
        4. The memory of a key is bounded: permits used within the same sixtieth of the window expire together, with
        the last of them. Leases and hits are counted separately, even under the same name and key.
        """

    @abstractmethod
    async def refund(self, name: str, key: str, rate: Rate) -> None:
        """5. Removes the newest hit of the key, if there is one. Never raises."""


class AuditLog(PersonalData[AuditExport], Protocol):
    """A log of the actions of staff. Every method raises `StoreUnavailable` if the store is unavailable.

    `erase` removes the user's id from entries and leaves the entries in place. Deleting the user by any other means has
    the same effect.
    """

    @abstractmethod
    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """3. Stores all entries or, if it raises, none. Ids of users that no longer exist are left out."""

    @abstractmethod
    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        """4. Returns the number of entries and those in the window: newest first, then by id."""

    @abstractmethod
    async def purge(self, before: datetime) -> int:
        """5. Deletes the entries older than `before` and returns their number."""
