"""The registration service: registration and activation.

It does not reveal whether an address belongs to a user (user enumeration): result and work are the same in either
case.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from movie_core.accounts.credentials import Credentials
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.keyring import new_id, token_hash
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import TokenPair
from movie_core.accounts.users import PendingRegistration, User
from movie_core.clock import Clock, utc_now
from movie_core.errors import Invalid, InvalidPassword, PasswordRequired
from movie_core.ports import DeliveryNotifier, RegistrationRepo

_log = logging.getLogger(__name__)


class Registration:
    """Registration and activation of users. Emails are queued in the outbox and sent by `OutboxDispatcher`.

    Every method raises `StoreUnavailable` if the store is unavailable, and `Busy` if too many passwords wait for
    hashing. Other errors are listed per method.
    """

    def __init__(
        self,
        registrations: RegistrationRepo,
        credentials: Credentials,
        identifiers: IdentifierParser,
        tokens: SessionTokens,
        notifier: DeliveryNotifier,
        clock: Clock = utc_now,
    ) -> None:
        self._registrations = registrations
        self._credentials = credentials
        self._identifiers = identifiers
        self._tokens = tokens
        self._notifier = notifier
        self._clock = clock

    async def register(
        self, email: str, username: str, password: str, *, requested_from: str = ""
    ) -> PendingRegistration:
        """Stores a registration and queues an email with its activation link. If the address belongs to a user, the
        result is the same and that user gets an email instead. `requested_from` is the client's widest network (see
        `rate_limits.networks_of`), against whose rate limit the email counts.

        Raises the `Invalid` error of the first invalid field, with those of the other fields in `others`, and
        `UsernameTaken`.
        """
        registration = await self._new_registration(email, username, password, requested_from)
        await self._registrations.register(registration, registration.created_at)
        await self._notifier.notify()
        return registration

    async def create_user(self, email: str, username: str, password: str) -> User | None:
        """Creates an active user without an email, by the same rules and with the same errors; None if the address
        belongs to a user."""
        registration = await self._new_registration(email, username, password, "")
        return await self._registrations.create_user(registration, registration.created_at)

    async def _new_registration(
        self, email: str, username: str, password: str, requested_from: str
    ) -> PendingRegistration:
        errors: list[Invalid] = []
        address = name = None
        with _collect(errors):
            address = self._identifiers.address(email)
        with _collect(errors):
            name = self._identifiers.username(username)
        with _collect(errors):
            self._credentials.check(password, address, name)
        if address is None or name is None or errors:
            first, *others = errors
            first.others = tuple(others)
            raise first
        password_hash = await self._credentials.hash_registration(password, address, name)
        return PendingRegistration(new_id(), address, name, password_hash, self._clock(), requested_from)

    async def resend_activation(self, email: str, *, requested_from: str = "") -> None:
        """Queues an email with new links for the pending registrations of this address, if there are any; raises
        `InvalidEmail`."""
        key = self._identifiers.address(email).key
        await self._registrations.request_activation(key, self._clock(), requested_from=requested_from)
        await self._notifier.notify()

    async def is_activated(self, uid: str, token: str) -> bool:
        """Returns True for an activation link that was used, False for one that is valid; raises `InvalidLink` for any
        other. Changes nothing."""
        link = await self._registrations.find_activation_link(uid, token_hash(token), self._clock())
        return link.registration is None

    async def activate(
        self,
        uid: str,
        token: str,
        device: str | None,
        *,
        password: str | None = None,
        new_password: str | None = None,
        network: str = "",
    ) -> TokenPair | None:
        """Activates a user by an activation link and starts a session for the device. Starts no session, and returns
        None, without a device and for a link that was used before.

        The link proves access to the mailbox, but not that the same person registered. Therefore `password` must be
        that of the registration, or `new_password` replaces it. Neither is needed if the registration is the only one
        pending.

        Raises `InvalidLink`, `InvalidPassword`, `WeakPassword`, `PasswordRequired`, and `UsernameTaken` if another user
        has taken the username since.
        """
        link_hash = token_hash(token)
        link = await self._registrations.find_activation_link(uid, link_hash, self._clock())
        registration = link.registration
        if registration is None:
            return None
        password_hash = None
        if new_password is not None:
            password_hash = await self._credentials.hash_new(new_password, registration, field="new_password")
        elif password is not None:
            password_hash = registration.password_hash
            if not await self._credentials.verify(password, password_hash, registration.address.key):
                raise InvalidPassword(
                    "this is not the password of this registration; send `new_password` to set another one",
                    field="password",
                )
        elif not link.is_only:
            raise PasswordRequired(
                "several registrations are pending for this address; send `password` (the one you registered with) or "
                "`new_password`"
            )
        activated = await self._registrations.activate(uid, link_hash, self._clock(), password_hash=password_hash)
        if activated.is_new:
            _log.info("account activated: account %s", activated.user.id)
        if not activated.is_new or device is None:
            return None
        return await self._tokens.start(activated.user, device, network=network)


@contextmanager
def _collect(errors: list[Invalid]) -> Iterator[None]:
    """Appends an `Invalid` error of the block to `errors`, and continues after the block."""
    try:
        yield
    except Invalid as error:
        errors.append(error)
