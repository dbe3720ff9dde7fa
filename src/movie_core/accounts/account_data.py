"""Export and erasure of all data about a user, over every store."""

from collections.abc import Sequence

from movie_core.accounts.exports import UserExport
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.users import Address
from movie_core.clock import Clock, utc_now
from movie_core.ports import AccountDataRepo, DeliveryNotifier, Mailer, PersonalData


class AccountData:
    """All data about an address and its user. Every method raises `StoreUnavailable` if a store is unavailable."""

    def __init__(
        self,
        repo: AccountDataRepo,
        personal: Sequence[PersonalData[object]],
        mailer: Mailer,
        registry: SessionRegistry,
        notifier: DeliveryNotifier,
        clock: Clock = utc_now,
    ) -> None:
        """`personal` are the other stores of data about users; their data is exported and erased with the user."""
        self._repo = repo
        self._personal = tuple(personal)
        self._mailer = mailer
        self._registry = registry
        self._notifier = notifier
        self._clock = clock

    async def export(self, address: Address) -> UserExport:
        """Returns all data stored about an address."""
        stored = await self._repo.export(address.key)
        if stored.account is None:
            return UserExport(stored)
        return UserExport(stored, tuple([await store.export(stored.account.id) for store in self._personal]))

    async def erase(self, address: Address, user_id: str | None) -> None:
        """Deletes all data about an address. `user_id` is that of its user, if there is one."""
        if user_id is not None:
            for store in self._personal:  # first: if a store is unavailable, the user still exists and can retry
                await store.erase(user_id)
        self._registry.mark_ended(await self._repo.erase(address.key, self._clock()))
        await self._mailer.erase(address)
        await self._notifier.notify()  # last, so that `Mailer.erase` does not delete the notice of the erasure
