"""Test data and helpers for the contracts of the user repository, the session store and the outbox."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash
from movie_core.accounts.outbox import (
    EmailLink,
    Mail,
    MailKind,
    MailRules,
    MailState,
)
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import Address, Registration, User, Username
from movie_core.paging import Window
from movie_core.ports import (
    Outbox,
    SessionStore,
    UserRepo,
    UserSummary,
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
    """The three stores over one database, and the keys that they seal with."""

    users: UserRepo
    sessions: SessionStore
    outbox: Outbox
    keys: Keyring


def make_address(spelling: str) -> Address:
    """An address as `users.parse_address` makes it of a spelling with a domain in ASCII."""
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
) -> Registration:
    """A registration with an id of its own, and a password of its own unless one is given."""
    return Registration(
        id=new_id(),
        address=make_address(spelling),
        username=Username(username, username.casefold(), skeleton),
        password_hash=password_hash or f"$made-up$v=1$m=8,t=1,p=1${new_token()}",
        created_at=at,
        requested_from=requested_from,
    )


async def deliver_due_mail(stores: AccountStores, now: datetime) -> list[Mail]:
    """All that is due, claimed and settled as sent; as it was claimed, oldest first."""
    claimed = list(await stores.outbox.claim("post", now, 100, MAIL_LEASE))
    for mail in claimed:
        sent = replace(mail, state=MailState.SENT, attempts=mail.attempts + 1, sent_at=now)
        assert await stores.outbox.complete("post", sent)
    return claimed


async def create_user(
    stores: AccountStores, spelling: str = "Ada@example.com", username: str = "Ada", *, at: datetime = NOW
) -> tuple[User, EmailLink]:
    """An account that was registered and activated at that time, and the link that did it."""
    asked = make_registration(spelling, username, at=at)
    await stores.users.register(asked, at)
    link = next(link for mail in await deliver_due_mail(stores, at) for link in mail.links if link.uid == asked.id)
    return await activate(stores, link, at), link


async def activate(stores: AccountStores, link: EmailLink, now: datetime) -> User:
    """The account of a link whose registration's password was given."""
    registration = (await stores.users.find_activation_link(link.uid, link.hashed, now)).registration
    assert registration is not None
    made = await stores.users.activate(link.uid, link.hashed, now, password_hash=registration.password_hash)
    return made.user


async def request_reset_link(stores: AccountStores, user: User, now: datetime) -> EmailLink:
    """A new link that resets the account's password."""
    await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, now)
    (link,) = (link for mail in await deliver_due_mail(stores, now) for link in mail.links)
    return link


async def log_in(
    stores: AccountStores, user: User, now: datetime, device: str = "phone", *, network: str = ""
) -> tuple[Session, str]:
    """A new session, good for 5 days, by the present password, and the hash of its refresh token."""
    session = Session(new_id(), user.id, device, created_at=now, last_used_at=now)
    refresh_hash = token_hash(new_token())
    present = await stores.users.find(user.id)
    assert present is not None
    await stores.sessions.start(
        session, refresh_hash, now + timedelta(days=5), password_hash=present.password_hash, network=network
    )
    return session, refresh_hash


def random_hashes(amount: int) -> list[str]:
    return [token_hash(new_token()) for _ in range(amount)]


async def due_links(stores: AccountStores, now: datetime) -> dict[str, EmailLink]:
    """The links of all that is due, by their uid."""
    return {link.uid: link for mail in await deliver_due_mail(stores, now) for link in mail.links}


async def list_users(stores: AccountStores, window: Window, *which: str, **more: Any) -> Sequence[UserSummary]:
    _, people = await stores.users.list_users(window, *which, **more)
    return people


async def list_mail(stores: AccountStores, window: Window, state: MailState | None = None) -> Sequence[Mail]:
    _, mails = await stores.outbox.list_page(window, state)
    return mails


async def can_activate(stores: AccountStores, link: EmailLink, now: datetime) -> bool:
    """Whether a link can activate a registration; raises `InvalidLink` where it can do nothing."""
    return (await stores.users.find_activation_link(link.uid, link.hashed, now)).registration is not None


async def is_used(stores: AccountStores, link: EmailLink, now: datetime) -> bool:
    return not await can_activate(stores, link, now)


async def link_usernames(stores: AccountStores, links: Iterable[EmailLink]) -> list[str]:
    """The usernames of whom links are for, sorted."""
    known = {person.id: person.username.shown for person in await list_users(stores, Window(limit=100))}
    return sorted(known[link.uid] for link in links)


async def usernames_at(stores: AccountStores, address_key: str) -> list[str]:
    return [person.username.shown for person in await list_users(stores, Window(limit=100), address_key)]


class AccountStoresContract:
    """What the suites of the three stores share: how to open them."""

    def open(self, rules: MailRules) -> AbstractAsyncContextManager[AccountStores]:
        """Stores over one empty database."""
        raise NotImplementedError
