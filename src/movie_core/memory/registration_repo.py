"""The `RegistrationRepo` port in memory."""

from collections import Counter
from datetime import datetime

from movie_core.accounts.outbox import MailKind, Purpose
from movie_core.accounts.users import MAX_PENDING, REPEAT, ActivationLink, ActivationResult, PendingRegistration, User
from movie_core.errors import PasswordRequired
from movie_core.memory.database import MemoryDatabase


class MemoryRegistrationRepo:
    """A `RegistrationRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def register(self, registration: PendingRegistration, now: datetime) -> None:
        database, address = self._database, registration.address
        database.check_username(registration.username)
        earlier = [other for other in database.registrations if other.address.key == address.key]
        if any(_identity(other) == _identity(registration) and now - other.created_at <= REPEAT for other in earlier):
            return
        user = database.find_by_address(address.key)
        database.registrations.append(registration)
        if user is not None:
            database.decoy_ids.add(registration.id)
        for excess in _over_limit([*earlier, registration]):
            database.delete_registration(excess)
        kind = MailKind.ACTIVATION if user is None else MailKind.ADDRESS_TAKEN
        due_at = database.next_allowed_at(address.key, now, registration.requested_from)
        if due_at > now:
            database.delay_email(kind, address.key, now, due_at, registration.requested_from)
            return
        recipient = address if user is None else user.address
        row = database.add_email(kind, recipient, now, registration.requested_from)
        if user is None:
            database.add_link(row, Purpose.ACTIVATE, registration.id, now)

    async def request_activation(self, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        self._database.delay_email(MailKind.ACTIVATION_RENEWAL, address_key, now, now, requested_from)

    async def find_activation_link(self, uid: str, token_hash: str, now: datetime) -> ActivationLink:
        if self._database.valid_link(Purpose.ACTIVATE, uid, token_hash, now).is_used:
            return ActivationLink(None, is_only=False)
        registration = self._registration(uid)
        return ActivationLink(registration, is_only=self._is_only(registration))

    async def activate(
        self, uid: str, token_hash: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        if self._database.valid_link(Purpose.ACTIVATE, uid, token_hash, now).is_used:
            return ActivationResult(self._database.users[uid], is_new=False)
        registration = self._registration(uid)
        if password_hash is None and not self._is_only(registration):
            raise PasswordRequired("this address has several pending registrations")
        user = self._database.activate(registration, now, used_link=token_hash, password_hash=password_hash)
        return ActivationResult(user, is_new=True)

    async def create_user(self, registration: PendingRegistration, now: datetime) -> User | None:
        if self._database.find_by_address(registration.address.key) is not None:
            return None
        self._database.check_username(registration.username)
        self._database.registrations.append(registration)
        return self._database.activate(registration, now, used_link=None)

    def _registration(self, uid: str) -> PendingRegistration:
        return next(registration for registration in self._database.registrations if registration.id == uid)

    def _is_only(self, registration: PendingRegistration) -> bool:
        pending = self._database.pending_registrations(registration.address.key)
        return len({_identity(other) for other in pending}) == 1


def _identity(registration: PendingRegistration) -> tuple[str, str, str]:
    """Equal for two registrations that differ only in time, network and spelling."""
    return registration.address.mailbox, registration.username.key, registration.password_hash


def _over_limit(registrations: list[PendingRegistration]) -> list[PendingRegistration]:
    """The registrations of one address beyond `MAX_PENDING`: the oldest ones of the networks with the most."""
    newest_first = sorted(registrations, key=lambda registration: registration.created_at, reverse=True)
    counts: Counter[str] = Counter()
    ranked = []
    for registration in newest_first:
        ranked.append((counts[registration.requested_from], registration))
        counts[registration.requested_from] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [registration for _, registration in ranked[MAX_PENDING:]]
