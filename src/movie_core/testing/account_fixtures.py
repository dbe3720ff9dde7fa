"""Test data and helpers for the contracts of the account repositories and the outbox."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash
from movie_core.accounts.outbox import EmailLink, Mail, MailKind, MailRules, MailState
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import Address, PendingRegistration, User, Username, UserSummary
from movie_core.memory import Deployment
from movie_core.paging import Window
from movie_core.ports import (
    AccountDataRepo,
    Outbox,
    PasswordResetRepo,
    RegistrationRepo,
    SessionRepo,
    UserDirectory,
    UserRepo,
)
from movie_core.quotas import Rate
from movie_core.testing.shared import NOW

LINK_TTL = timedelta(hours=24)
UNLIMITED = MailRules(LINK_TTL, None)
LIMITED = MailRules(LINK_TTL, Rate(3, 3600))
NEW_HASH = "$made-up$v=1$m=8,t=1,p=1$new"
MAIL_LEASE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class AccountStores:
    """The repositories of accounts and the outbox over one database, and the keyring that encrypts their tokens."""

    users: UserRepo
    directory: UserDirectory
    registrations: RegistrationRepo
    password_resets: PasswordResetRepo
    sessions: SessionRepo
    data: AccountDataRepo
    outbox: Outbox
    keyring: Keyring


def memory_account_stores(deployment: Deployment) -> AccountStores:
    """The account stores of a deployment in memory."""
    return AccountStores(
        users=deployment.user_repo,
        directory=deployment.user_directory,
        registrations=deployment.registration_repo,
        password_resets=deployment.password_reset_repo,
        sessions=deployment.session_repo,
        data=deployment.account_data_repo,
        outbox=deployment.outbox,
        keyring=deployment.keyring,
    )


def make_address(spelling: str) -> Address:
    """The address that `identifiers.parse_address` returns for a spelling with an ASCII domain."""
    local, _, domain = spelling.rpartition("@")
    return Address(spelling, f"{local.casefold()}@{domain.lower()}")


def make_registration(
    spelling: str = "Ada@example.com",
    username: str = "Ada",
    *,
    skeleton: str | None = None,
    password_hash: str | None = None,
    at: datetime = NOW,
    requested_from: str = "",
) -> PendingRegistration:
    """A registration with a new id, and with a new password unless `password_hash` is given."""
    return PendingRegistration(
        id=new_id(),
        address=make_address(spelling),
        username=Username(username, username.casefold(), skeleton),
        password_hash=password_hash or f"$made-up$v=1$m=8,t=1,p=1${new_token()}",
        created_at=at,
        requested_from=requested_from,
    )


async def deliver_due_mail(stores: AccountStores, now: datetime) -> list[Mail]:
    """Claim all due emails and complete them as sent. Returns them as claimed, oldest first."""
    claimed = list(await stores.outbox.claim("dispatcher", now, 100, MAIL_LEASE))
    for mail in claimed:
        sent = replace(mail, state=MailState.SENT, attempts=mail.attempts + 1, sent_at=now)
        assert await stores.outbox.complete("dispatcher", sent)
    return claimed


async def create_user(
    stores: AccountStores, spelling: str = "Ada@example.com", username: str = "Ada", *, at: datetime = NOW
) -> tuple[User, EmailLink]:
    """Register and activate a user. Returns the user and the activation link."""
    registration = make_registration(spelling, username, at=at)
    await stores.registrations.register(registration, at)
    link = (await due_links(stores, at))[registration.id]
    return await activate(stores, link, at), link


async def activate(stores: AccountStores, link: EmailLink, now: datetime) -> User:
    """Activate the registration of a link with its own password."""
    registration = (await stores.registrations.find_activation_link(link.uid, link.token_hash, now)).registration
    assert registration is not None
    result = await stores.registrations.activate(
        link.uid, link.token_hash, now, password_hash=registration.password_hash
    )
    return result.user


async def request_mail(
    stores: AccountStores, kind: MailKind, address_key: str, now: datetime, *, requested_from: str = ""
) -> None:
    """Request an `ACTIVATION_RENEWAL` or `PASSWORD_RESET` email."""
    request = {
        MailKind.ACTIVATION_RENEWAL: stores.registrations.request_activation,
        MailKind.PASSWORD_RESET: stores.password_resets.request_reset,
    }[kind]
    await request(address_key, now, requested_from=requested_from)


async def request_reset_link(stores: AccountStores, user: User, now: datetime) -> EmailLink:
    """Request a password reset and return its link."""
    await stores.password_resets.request_reset(user.address.key, now)
    (link,) = (link for mail in await deliver_due_mail(stores, now) for link in mail.links)
    return link


async def log_in(
    stores: AccountStores, user: User, now: datetime, device: str = "phone", *, network: str = ""
) -> tuple[Session, str]:
    """Start a session that is valid for 5 days. Returns it and the hash of its refresh token."""
    session = Session(new_id(), user.id, device, created_at=now, last_used_at=now)
    refresh_hash = token_hash(new_token())
    stored = await stores.users.find(user.id)
    assert stored is not None
    await stores.sessions.start(
        session, refresh_hash, now + timedelta(days=5), password_hash=stored.password_hash, network=network
    )
    return session, refresh_hash


def random_hashes(count: int) -> list[str]:
    return [token_hash(new_token()) for _ in range(count)]


async def due_links(stores: AccountStores, now: datetime) -> dict[str, EmailLink]:
    """Deliver all due emails and return their links by uid."""
    return {link.uid: link for mail in await deliver_due_mail(stores, now) for link in mail.links}


async def list_users(stores: AccountStores, window: Window, *args: str, **filters: Any) -> Sequence[UserSummary]:
    _, users = await stores.directory.list_users(window, *args, **filters)
    return users


async def list_mail(stores: AccountStores, window: Window, state: MailState | None = None) -> Sequence[Mail]:
    _, mails = await stores.outbox.list_page(window, state)
    return mails


async def can_activate(stores: AccountStores, link: EmailLink, now: datetime) -> bool:
    """Whether a link can activate a registration: False if it was used. Raises `InvalidLink` if it is not valid."""
    return (await stores.registrations.find_activation_link(link.uid, link.token_hash, now)).registration is not None


async def is_used(stores: AccountStores, link: EmailLink, now: datetime) -> bool:
    return not await can_activate(stores, link, now)


async def link_usernames(stores: AccountStores, links: Iterable[EmailLink]) -> list[str]:
    """The usernames of the registrations of links, sorted."""
    usernames = {user.id: user.username.shown for user in await list_users(stores, Window(limit=100))}
    return sorted(usernames[link.uid] for link in links)


async def usernames_at(stores: AccountStores, address_key: str) -> list[str]:
    return [user.username.shown for user in await list_users(stores, Window(limit=100), address_key)]


class AccountStoresContract:
    """Base class of the contracts of the account stores."""

    def open(self, rules: MailRules) -> AbstractAsyncContextManager[AccountStores]:
        """Stores over one empty database."""
        raise NotImplementedError
