"""The suites of the ports about accounts, their mails and their limits."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash
from movie_core.accounts.outbox import (
    RENEWED,
    TOTAL,
    EmailLink,
    Mail,
    MailKind,
    MailRejected,
    MailRules,
    MailState,
    MailUnavailable,
    OutgoingEmail,
)
from movie_core.accounts.sessions import GRACE, MAX_NETWORKS, MAX_SESSIONS, AccessClaims, Session
from movie_core.accounts.users import MAX_PENDING, REPEAT, Address, Registration, User, Username, UserState
from movie_core.clock import utc_now
from movie_core.errors import (
    InvalidCredentials,
    InvalidEmail,
    InvalidLink,
    InvalidToken,
    PasswordRequired,
    UsernameTaken,
    UserNotFound,
)
from movie_core.paging import Window
from movie_core.ports import (
    AccessTokens,
    ActivationLink,
    ActivationResult,
    AddressSyntax,
    DeliveryNotifier,
    Mailer,
    Outbox,
    PasswordHasher,
    PasswordStrength,
    RateLimiter,
    RotationResult,
    SessionStore,
    UsernameSyntax,
    UserRepo,
    UserSummary,
)
from movie_core.quotas import Permits, Rate
from movie_core.testing.shared import NOW, ODD_STRINGS, clause, refused

LINK_TTL = timedelta(hours=24)
UNLIMITED = MailRules(LINK_TTL, None)
LIMITED = MailRules(LINK_TTL, Rate(3, 3600))

_NEW_HASH = "$made-up$v=1$m=8,t=1,p=1$new"
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LEASE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Stores:
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


async def deliver(stores: Stores, now: datetime) -> list[Mail]:
    """All that is due, claimed and settled as sent; as it was claimed, oldest first."""
    claimed = list(await stores.outbox.claim("post", now, 100, _LEASE))
    for mail in claimed:
        sent = replace(mail, state=MailState.SENT, attempts=mail.attempts + 1, sent_at=now)
        assert await stores.outbox.complete("post", sent)
    return claimed


async def join(
    stores: Stores, spelling: str = "Ada@example.com", username: str = "Ada", *, at: datetime = NOW
) -> tuple[User, EmailLink]:
    """An account that was registered and activated at that time, and the link that did it."""
    asked = make_registration(spelling, username, at=at)
    await stores.users.register(asked, at)
    link = next(link for mail in await deliver(stores, at) for link in mail.links if link.uid == asked.id)
    return await activate(stores, link, at), link


async def activate(stores: Stores, link: EmailLink, now: datetime) -> User:
    """The account of a link whose registration's password was given."""
    registration = (await stores.users.find_activation_link(link.uid, link.hashed, now)).registration
    assert registration is not None
    made = await stores.users.activate(link.uid, link.hashed, now, password_hash=registration.password_hash)
    return made.user


async def reset_link(stores: Stores, user: User, now: datetime) -> EmailLink:
    """A new link that resets the account's password."""
    await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, now)
    (link,) = (link for mail in await deliver(stores, now) for link in mail.links)
    return link


async def log_in(
    stores: Stores, user: User, now: datetime, device: str = "phone", *, network: str = ""
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


def _hashes(amount: int) -> list[str]:
    return [token_hash(new_token()) for _ in range(amount)]


async def _links_of(stores: Stores, now: datetime) -> dict[str, EmailLink]:
    """The links of all that is due, by their uid."""
    return {link.uid: link for mail in await deliver(stores, now) for link in mail.links}


async def _people(stores: Stores, window: Window, *which: str, **more: Any) -> Sequence[UserSummary]:
    _, people = await stores.users.list_users(window, *which, **more)
    return people


async def _mails(stores: Stores, window: Window, state: MailState | None = None) -> Sequence[Mail]:
    _, mails = await stores.outbox.list_page(window, state)
    return mails


async def _is_good(stores: Stores, link: EmailLink, now: datetime) -> bool:
    """Whether a link can activate a registration; raises `InvalidLink` where it can do nothing."""
    return (await stores.users.find_activation_link(link.uid, link.hashed, now)).registration is not None


async def _is_used(stores: Stores, link: EmailLink, now: datetime) -> bool:
    return not await _is_good(stores, link, now)


async def _names(stores: Stores, links: Iterable[EmailLink]) -> list[str]:
    """The usernames of whom links are for, sorted."""
    known = {person.id: person.username.shown for person in await _people(stores, Window(limit=100))}
    return sorted(known[link.uid] for link in links)


async def _usernames(stores: Stores, address_key: str) -> list[str]:
    return [person.username.shown for person in await _people(stores, Window(limit=100), address_key)]


class StoresContract:
    """What the suites of the three stores share: how to open them."""

    def open(self, rules: MailRules) -> AbstractAsyncContextManager[Stores]:
        """Stores over one empty database."""
        raise NotImplementedError


class UserRepoContract(StoresContract):
    """What every `UserRepo` keeps; the numbers are the clauses of `movie_core.ports`."""

    @clause
    async def test_1_of_many_who_activate_one_username_one_gets_it(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = [make_registration(f"ada{n}@example.com", ("ADA", "ada", "Ada")[n % 3]) for n in range(9)]
            await asyncio.gather(*(stores.users.register(one, NOW) for one in asked))
            links = await _links_of(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(stores.users.activate(link.uid, link.hashed, NOW) for link in links.values()), return_exceptions=True
            )
            assert sum(isinstance(result, ActivationResult) for result in results) == 1
            assert sum(isinstance(result, UsernameTaken) for result in results) == 8
            people = await _people(stores, Window(limit=100))
            assert sum(not person.is_pending for person in people) == 1
            assert sum(person.is_pending for person in people) == 8

    @clause
    async def test_1_of_many_who_activate_one_address_one_gets_it(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = [make_registration(username=f"Ada {n}") for n in range(9)]
            await asyncio.gather(*(stores.users.register(one, NOW) for one in asked))
            links = await _links_of(stores, NOW)
            assert len(links) == 9
            results = await asyncio.gather(
                *(
                    stores.users.activate(link.uid, link.hashed, NOW, password_hash=_NEW_HASH)
                    for link in links.values()
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(result, ActivationResult) for result in results) == 1
            assert sum(isinstance(result, InvalidLink) for result in results) == 8
            assert len(await _people(stores, Window(limit=100))) == 1

    @clause
    async def test_1_registrations_reserve_no_username(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("ada@example.com", "Ada"), NOW)
            await stores.users.register(make_registration("bob@example.com", "ADA"), NOW)
            assert len(await _people(stores, Window())) == 2

    @clause
    async def test_3_a_registration_is_kept_with_one_mail_and_one_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = make_registration("Ada@example.com", "Ada")
            await stores.users.register(asked, NOW)
            (person,) = await _people(stores, Window(), asked.address.key)
            assert person == UserSummary(asked.id, asked.address, asked.username, True, False, False, NOW, None)
            assert await stores.users.find_by_address(asked.address.key) is None
            assert await stores.users.find(asked.id) is None
            (mail,) = await stores.outbox.claim("post", NOW, 10, _LEASE)
            assert (mail.kind, mail.recipient, mail.state) == (
                MailKind.ACTIVATION,
                asked.address.spelling,
                MailState.PENDING,
            )
            (link,) = mail.links
            assert link.uid == asked.id
            token = stores.keys.decrypt_token(link.sealed, link.hashed)
            assert token is not None
            assert token_hash(token) == link.hashed

    @clause
    async def test_3_another_registration_leaves_the_links_of_the_first_alone(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first, second = make_registration(username="Ada"), make_registration(username="Eve")
            await stores.users.register(first, NOW)
            await stores.users.register(second, NOW + _MINUTE)
            links = await _links_of(stores, NOW + _MINUTE)
            assert set(links) == {first.id, second.id}
            for link in links.values():
                assert await _is_good(stores, link, NOW + _MINUTE)

    @clause
    async def test_3_a_taken_address_is_told_to_its_owner_alone(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores, "Ada@example.com", "Ada")
            decoy = make_registration("ADA@example.com", "Eve", at=NOW + _MINUTE)
            await stores.users.register(decoy, NOW + _MINUTE)
            (mail,) = await deliver(stores, NOW + _MINUTE)
            assert (mail.kind, mail.recipient, mail.links) == (MailKind.ADDRESS_TAKEN, "Ada@example.com", ())
            assert await stores.users.find_by_address(user.address.key) == user
            assert await _usernames(stores, user.address.key) == ["Ada"]
            assert (await stores.users.export(user.address.key))["registrations"] == []
            assert await stores.users.find(decoy.id) is None
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, user.address.key, NOW + _HOUR)
            assert not await deliver(stores, NOW + _HOUR)
            await stores.users.erase(user.address.key, NOW + _HOUR)
            assert not await _people(stores, Window())

    @clause
    async def test_3_a_decoy_is_nothing_that_staff_could_activate(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores, "ada@example.com", "Ada")
            await stores.users.set_active(user.address.key, False, NOW)
            await stores.users.register(make_registration("ada@example.com", "Eve"), NOW + _MINUTE)
            await stores.users.set_active(user.address.key, True, NOW + _MINUTE)
            assert await stores.users.find_by_address(user.address.key) == user

    @clause
    async def test_4_a_username_of_an_account_is_taken_whatever_the_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await join(stores, "ada@example.com", "Ada")
            for spelling in ("bob@example.com", "ada@example.com"):
                await refused(UsernameTaken, stores.users.register(make_registration(spelling, "ADA"), NOW + _HOUR))
            assert len(await _people(stores, Window())) == 1
            assert not await deliver(stores, NOW + _HOUR)

    @clause
    async def test_4_a_username_that_looks_like_an_account_s_is_taken(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("bob@example.com", "paypa1", skeleton="paypal"), NOW)
            (late,) = (await _links_of(stores, NOW)).values()
            asked = make_registration("ada@example.com", "paypal", skeleton="paypal")
            await stores.users.register(asked, NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            user = await activate(stores, link, NOW)
            assert user.username == asked.username
            again = make_registration("eve@example.com", "PAYPAI", skeleton="paypal")
            await refused(UsernameTaken, stores.users.register(again, NOW))
            await refused(UsernameTaken, stores.users.activate(late.uid, late.hashed, NOW))
            other, _ = await join(stores, "dan@example.com", "Dan")
            alike = Username("PayPaI", "paypai", "paypal")
            await refused(UsernameTaken, stores.users.change_profile(other.id, username=alike))
            renamed = await stores.users.change_profile(user.id, username=alike)
            assert renamed.username == alike

    @clause
    async def test_5_the_same_registration_again_is_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("Ada@example.com", "Ada")
            await stores.users.register(first, NOW)
            for later in (timedelta(0), REPEAT):
                again = replace(first, id=new_id(), address=make_address("ADA@Example.com"), created_at=NOW + later)
                await stores.users.register(again, NOW + later)
            assert len(await _people(stores, Window())) == 1
            assert len(await deliver(stores, NOW + REPEAT)) == 1
            late = NOW + REPEAT + timedelta(seconds=1)
            await stores.users.register(replace(first, id=new_id(), created_at=late), late)
            assert len(await _people(stores, Window())) == 2

    @clause
    async def test_5_another_password_username_or_mailbox_is_another_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration("strasse@example.com", "Ada")
            others = (
                replace(first, id=new_id(), password_hash=_NEW_HASH),
                replace(first, id=new_id(), username=Username("Eve", "eve")),
                replace(first, id=new_id(), address=make_address("straße@example.com")),
            )
            for one in (first, *others):
                await stores.users.register(one, NOW)
            assert len(await _people(stores, Window(), first.address.key)) == 4

    @clause
    async def test_5_fifty_identical_registrations_at_once_are_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            first = make_registration()
            await asyncio.gather(*(stores.users.register(replace(first, id=new_id()), NOW) for _ in range(50)))
            assert len(await _people(stores, Window(limit=100))) == 1
            assert len(await deliver(stores, NOW)) == 1

    @clause
    async def test_5_a_decoy_sent_twice_is_told_once(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await join(stores, "ada@example.com", "Ada")
            decoy = make_registration("ada@example.com", "Eve", at=NOW + _MINUTE)
            for _ in range(2):
                await stores.users.register(replace(decoy, id=new_id()), NOW + _MINUTE)
            assert len(await deliver(stores, NOW + _MINUTE)) == 1

    @clause
    async def test_6_an_address_keeps_its_newest_registrations(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(MAX_PENDING + 3):
                at = NOW + timedelta(seconds=n)
                await stores.users.register(make_registration(username=f"Ada {n}", at=at), at)
            people = await _people(stores, Window(limit=100), "ada@example.com")
            assert [person.username.shown for person in people] == [f"Ada {n}" for n in range(MAX_PENDING + 2, 2, -1)]
            (late,) = [mail for mail in await deliver(stores, NOW + 2 * _HOUR) if len(mail.links) > 1]
            assert {link.uid for link in late.links} == {person.id for person in people[:RENEWED]}

    @clause
    async def test_6_registrations_of_one_network_push_out_none_of_another(self) -> None:
        async with self.open(UNLIMITED) as stores:
            own = make_registration(username="Owner", requested_from="192.0.2.0/24")
            await stores.users.register(own, NOW)
            for n in range(MAX_PENDING + 5):
                at = NOW + timedelta(seconds=n)
                strange = make_registration(username=f"Eve {n}", at=at, requested_from=f"198.51.100.{n % 3}")
                await stores.users.register(strange, at)
            people = await _people(stores, Window(limit=100), own.address.key)
            assert len(people) == MAX_PENDING
            assert own.id in {person.id for person in people}
            link = (await _links_of(stores, NOW + _MINUTE))[own.id]
            assert (await activate(stores, link, NOW + _MINUTE)).id == own.id

    @clause
    async def test_7_a_mail_is_wanted_for_any_address_at_the_same_work(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for kind in (MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET):
                await stores.users.request_mail(kind, "nobody@example.com", NOW)
            waiting = await _mails(stores, Window())
            assert {mail.kind for mail in waiting} == {MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET}
            assert all((mail.recipient, mail.due_at, mail.state) == ("", NOW, MailState.PENDING) for mail in waiting)

    @clause
    async def test_7_a_mail_of_the_kind_that_waits_is_replaced(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            for n in range(5):
                at = NOW + n * _MINUTE
                await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, at)
            waiting = await _mails(stores, Window(), MailState.PENDING)
            assert [mail.due_at for mail in waiting] == [NOW + 4 * _MINUTE]
            assert len(await deliver(stores, NOW + 4 * _MINUTE)) == 1

    @clause
    async def test_7_what_one_network_requests_replaces_nothing_of_another(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await join(stores)
            key, kind = user.address.key, MailKind.PASSWORD_RESET
            for n in range(5):
                at = NOW + n * _MINUTE
                await stores.users.request_mail(kind, key, at, requested_from="198.51.100.0/24")
                assert len(await deliver(stores, at)) == (n < 3)
            await stores.users.request_mail(kind, key, NOW + 6 * _MINUTE, requested_from="192.0.2.0/24")
            await stores.users.request_mail(kind, key, NOW + 7 * _MINUTE, requested_from="198.51.100.0/24")
            assert len(await deliver(stores, NOW + 7 * _MINUTE)) == 1
            (waiting,) = await _mails(stores, Window(), MailState.PENDING)
            assert waiting.due_at == NOW + _HOUR

    @clause
    async def test_7_many_who_want_one_mail_at_once_get_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            key = user.address.key
            await asyncio.gather(*(stores.users.request_mail(MailKind.PASSWORD_RESET, key, NOW) for _ in range(20)))
            assert len(await deliver(stores, NOW)) == 1

    @clause
    async def test_8_looking_at_a_link_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            for _ in range(3):
                assert await _is_good(stores, link, NOW)
            assert await stores.users.find_by_address("ada@example.com") is None
            await stores.users.activate(link.uid, link.hashed, NOW)
            assert await _is_used(stores, link, NOW)

    @clause
    async def test_8_a_link_names_its_registration_and_whether_there_are_others(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = make_registration(requested_from="192.0.2.0/24")
            await stores.users.register(asked, NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            assert await stores.users.find_activation_link(link.uid, link.hashed, NOW) == ActivationLink(
                asked, is_only=True
            )
            later = NOW + REPEAT + _MINUTE
            again = replace(asked, id=new_id(), address=make_address("ADA@Example.com"), created_at=later)
            await stores.users.register(again, later)
            assert (await stores.users.find_activation_link(link.uid, link.hashed, later)).is_only
            for other in (
                make_registration(),
                make_registration(username="Eve", password_hash=asked.password_hash),
            ):
                await stores.users.register(other, later)
                assert not (await stores.users.find_activation_link(link.uid, link.hashed, later)).is_only

    @clause
    async def test_9_the_account_is_what_the_registration_asked_for(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = make_registration("Ada@example.com", "Ada L")
            await stores.users.register(asked, NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            activated = await stores.users.activate(link.uid, link.hashed, NOW + _HOUR)
            assert activated.is_new
            user = activated.user
            assert user == User(
                id=asked.id,
                address=asked.address,
                username=asked.username,
                password_hash=asked.password_hash,
                is_active=True,
                is_staff=False,
                record_events=True,
                created_at=NOW + _HOUR,
            )
            assert await stores.users.find(asked.id) == user
            assert await stores.users.find_by_address(asked.address.key) == user
            (person,) = await _people(stores, Window())
            assert (person.id, person.is_pending, person.is_active) == (asked.id, False, True)

    @clause
    async def test_9_the_link_used_goes_on_to_say_so_and_the_others_end(self) -> None:
        async with self.open(UNLIMITED) as stores:
            used, other = make_registration(username="Ada"), make_registration(username="Eve")
            for one in (used, other):
                await stores.users.register(one, NOW)
            links = await _links_of(stores, NOW)
            user = await activate(stores, links[used.id], NOW)
            again = await stores.users.activate(used.id, links[used.id].hashed, NOW + _HOUR)
            assert (again.user, again.is_new) == (user, False)
            assert await _is_used(stores, links[used.id], NOW + _HOUR)
            for call in (stores.users.find_activation_link, stores.users.activate):
                await refused(InvalidLink, call(other.id, links[other.id].hashed, NOW))
            assert await _usernames(stores, user.address.key) == ["Ada"]

    @clause
    async def test_9_a_password_given_counts_and_is_needed_where_others_are_registered(self) -> None:
        async with self.open(UNLIMITED) as stores:
            strange, own = make_registration(username="Eve"), make_registration(username="Ada")
            for one in (strange, own):
                await stores.users.register(one, NOW)
            link = (await _links_of(stores, NOW))[strange.id]
            await refused(PasswordRequired, stores.users.activate(link.uid, link.hashed, NOW))
            assert await stores.users.find_by_address("ada@example.com") is None
            made = await stores.users.activate(link.uid, link.hashed, NOW, password_hash=_NEW_HASH)
            assert (made.user.id, made.user.password_hash) == (strange.id, _NEW_HASH)
            assert await stores.users.find(strange.id) == made.user

    @clause
    async def test_9_of_many_who_use_one_link_one_is_new(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            results = await asyncio.gather(*(stores.users.activate(link.uid, link.hashed, NOW) for _ in range(20)))
            assert [result.is_new for result in results].count(True) == 1
            assert len({result.user.id for result in results}) == 1

    @clause
    async def test_9_an_activation_mail_that_waits_ends_with_the_registrations(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", NOW + _MINUTE)
            await stores.users.activate(link.uid, link.hashed, NOW + _MINUTE)
            assert not await _mails(stores, Window(), MailState.PENDING)

    @clause
    async def test_10_a_link_must_be_of_its_uid_and_purpose_and_time(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, used = await join(stores, "eve@example.com", "Eve")
            reset = await reset_link(stores, user, NOW)
            one, other = make_registration(username="Ada"), make_registration(username="Bob")
            for asked in (one, other):
                await stores.users.register(asked, NOW)
            links = await _links_of(stores, NOW)
            for call in (stores.users.find_activation_link, stores.users.activate):
                await refused(InvalidLink, call(one.id, links[other.id].hashed, NOW))
                await refused(InvalidLink, call(one.id, _hashes(1)[0], NOW))
                await refused(InvalidLink, call(reset.uid, reset.hashed, NOW))
                await refused(InvalidLink, call(one.id, links[one.id].hashed, NOW + LINK_TTL + _MINUTE))
            resets: tuple[Callable[[str, str, datetime], Awaitable[object]], ...] = (
                stores.users.find_reset_user,
                self._reset(stores),
            )
            for reset_by in resets:
                await refused(InvalidLink, reset_by(one.id, links[one.id].hashed, NOW))
                await refused(InvalidLink, reset_by(used.uid, used.hashed, NOW))
            assert await _is_good(stores, links[one.id], NOW + LINK_TTL - _MINUTE)

    @clause
    async def test_10_any_string_may_come_as_a_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            calls: tuple[Callable[[str, str, datetime], Awaitable[object]], ...] = (
                stores.users.find_activation_link,
                stores.users.activate,
                stores.users.find_reset_user,
                self._reset(stores),
            )
            for odd in ODD_STRINGS:
                for call in calls:
                    await refused(InvalidLink, call(odd, link.hashed, NOW))
                    await refused(InvalidLink, call(link.uid, odd, NOW))
                    await refused(InvalidLink, call(odd, odd, NOW))

    @clause
    async def test_10_a_username_that_was_taken_meanwhile_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            asked = make_registration("bob@example.com", "Ada")
            await stores.users.register(asked, NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            rival, _ = await join(stores, "ada@example.com", "ADA")
            await refused(UsernameTaken, stores.users.activate(link.uid, link.hashed, NOW))
            assert await stores.users.find_by_address("bob@example.com") is None
            await stores.users.change_profile(rival.id, username=Username("Eve", "eve"))
            assert (await stores.users.activate(link.uid, link.hashed, NOW)).is_new

    @clause
    async def test_11_a_reset_link_names_its_owner_and_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            link = await reset_link(stores, user, NOW)
            assert link.uid == user.id
            for _ in range(2):
                assert await stores.users.find_reset_user(link.uid, link.hashed, NOW) == user
            late = NOW + LINK_TTL + _MINUTE
            await refused(InvalidLink, stores.users.find_reset_user(link.uid, link.hashed, late))
            await refused(InvalidLink, stores.users.reset_password(link.uid, link.hashed, "$made-up$late", late))
            assert await stores.users.find(user.id) == user

    @clause
    async def test_12_a_reset_ends_all_sessions_and_its_link(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            bystander, _ = await join(stores, "bob@example.com", "Bob")
            link = await reset_link(stores, user, NOW)
            own = [(await log_in(stores, user, NOW))[0].id for _ in range(3)]
            other, _ = await log_in(stores, bystander, NOW)
            ended = await stores.users.reset_password(link.uid, link.hashed, _NEW_HASH, NOW + _MINUTE)
            assert sorted(ended) == sorted(own)
            assert not await stores.sessions.list_page(user.id)
            assert [session.id for session in await stores.sessions.list_page(bystander.id)] == [other.id]
            assert await stores.users.find(user.id) == replace(user, password_hash=_NEW_HASH, last_login=NOW)
            await refused(InvalidLink, stores.users.find_reset_user(link.uid, link.hashed, NOW + _MINUTE))
            await refused(InvalidLink, stores.users.reset_password(link.uid, link.hashed, "$made-up$2", NOW + _MINUTE))
            (notice,) = await deliver(stores, NOW + _MINUTE)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)
            assert not notice.links

    @clause
    async def test_12_a_reset_ends_all_links_that_could_reset(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            links = [await reset_link(stores, user, NOW + n * _MINUTE) for n in range(3)]
            later = NOW + _HOUR
            await stores.users.reset_password(links[1].uid, links[1].hashed, _NEW_HASH, later)
            for link in links:
                await refused(InvalidLink, stores.users.find_reset_user(link.uid, link.hashed, later))

    @clause
    async def test_12_of_many_who_use_one_reset_link_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            link = await reset_link(stores, user, NOW)
            new = [f"$made-up${n}" for n in range(10)]
            results = await asyncio.gather(
                *(stores.users.reset_password(link.uid, link.hashed, one, NOW) for one in new), return_exceptions=True
            )
            assert sum(isinstance(result, InvalidLink) for result in results) == 9
            winner = next(n for n, result in enumerate(results) if not isinstance(result, BaseException))
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == new[winner]

    @clause
    async def test_13_and_14_an_account_is_found_by_id_and_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            inactive = replace(user, is_active=False)
            assert await stores.users.find(user.id) == inactive
            assert await stores.users.find_by_address(user.address.key) == inactive
            for odd in ODD_STRINGS:
                assert await stores.users.find(odd) is None
                assert await stores.users.find_by_address(odd) is None

    @clause
    async def test_15_a_changed_password_ends_the_other_sessions_and_reset_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            link = await reset_link(stores, user, NOW)
            here, others = await log_in(stores, user, NOW), [await log_in(stores, user, NOW) for _ in range(2)]
            ended = await stores.users.change_password(
                user.id, user.password_hash, _NEW_HASH, except_session_id=here[0].id, now=NOW
            )
            assert sorted(ended or ()) == sorted(session.id for session, _ in others)
            assert [session.id for session in await stores.sessions.list_page(user.id)] == [here[0].id]
            await refused(InvalidLink, stores.users.find_reset_user(link.uid, link.hashed, NOW))
            changed = await stores.users.find(user.id)
            assert changed is not None
            assert changed.password_hash == _NEW_HASH
            (notice,) = await deliver(stores, NOW)
            assert (notice.kind, notice.recipient) == (MailKind.PASSWORD_CHANGED, user.address.spelling)

    @clause
    async def test_15_an_old_hash_that_is_not_the_present_one_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, _ = await log_in(stores, user, NOW)
            change = stores.users.change_password
            assert await change(user.id, "$made-up$wrong", _NEW_HASH, except_session_id="", now=NOW) is None
            assert await change(new_id(), user.password_hash, _NEW_HASH, except_session_id="", now=NOW) is None
            assert await stores.sessions.is_live(session.id)
            assert not await deliver(stores, NOW)
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == user.password_hash

    @clause
    async def test_15_of_many_changes_at_once_one_succeeds(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            results = await asyncio.gather(
                *(
                    stores.users.change_password(
                        user.id, user.password_hash, f"$made-up${n}", except_session_id="", now=NOW
                    )
                    for n in range(10)
                )
            )
            assert [result is None for result in results].count(False) == 1

    @clause
    async def test_16_a_profile_changes_where_it_is_told_to(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            await join(stores, "bob@example.com", "Bob")
            silent = replace(user, record_events=False)
            assert await stores.users.change_profile(user.id, record_events=False) == silent
            renamed = replace(silent, username=Username("ADA", "ada"))
            assert await stores.users.change_profile(user.id, username=renamed.username) == renamed
            await refused(UsernameTaken, stores.users.change_profile(user.id, username=Username("BOB", "bob")))
            assert await stores.users.change_profile(user.id) == renamed
            assert await stores.users.find(user.id) == renamed
            for odd in (*ODD_STRINGS, new_id()):
                await refused(UserNotFound, stores.users.change_profile(odd, record_events=True))

    @clause
    async def test_16_of_many_who_take_one_username_one_gets_it(self) -> None:
        async with self.open(UNLIMITED) as stores:
            accounts = [(await join(stores, f"u{n}@example.com", f"User {n}"))[0] for n in range(6)]
            results = await asyncio.gather(
                *(stores.users.change_profile(one.id, username=Username("Star", "star")) for one in accounts),
                return_exceptions=True,
            )
            assert sum(isinstance(result, User) for result in results) == 1
            assert sum(isinstance(result, UsernameTaken) for result in results) == 5

    @clause
    async def test_17_a_deactivated_account_loses_its_sessions(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            assert list(await stores.users.set_active(user.address.key, False, NOW)) == [session.id]
            found = await stores.users.find(user.id)
            assert found is not None
            assert not found.is_active
            assert not await stores.sessions.is_live(session.id)
            assert await stores.sessions.rotate(refresh_hash, _hashes(1), NOW, NOW + _DAY) is None
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            assert not await deliver(stores, NOW)
            assert list(await stores.users.set_active(user.address.key, True, NOW)) == []
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.is_active

    @clause
    async def test_17_a_pending_address_is_activated_by_its_newest_registration(self) -> None:
        async with self.open(UNLIMITED) as stores:
            older = make_registration(username="Older")
            newer = make_registration("ADA@example.com", "Newer", at=NOW + _MINUTE)
            await stores.users.register(newer, NOW + _MINUTE)
            await stores.users.register(older, NOW)
            links = await _links_of(stores, NOW + _MINUTE)
            await refused(UserNotFound, stores.users.set_active("ada@example.com", False, NOW))
            await stores.users.set_active("ada@example.com", True, NOW + _HOUR)
            user = await stores.users.find_by_address("ada@example.com")
            assert user is not None
            assert (user.id, user.address, user.is_active) == (newer.id, newer.address, True)
            assert await _usernames(stores, "ada@example.com") == ["Newer"]
            await refused(InvalidLink, stores.users.activate(older.id, links[older.id].hashed, NOW + _HOUR))

    @clause
    async def test_17_staff_can_neither_activate_nobody_nor_a_taken_username(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration("bob@example.com", "Ada"), NOW)
            await join(stores, "ada@example.com", "Ada")
            await refused(UsernameTaken, stores.users.set_active("bob@example.com", True, NOW))
            for odd in (*ODD_STRINGS, "nobody@example.com"):
                for is_active in (True, False):
                    await refused(UserNotFound, stores.users.set_active(odd, is_active, NOW))

    @clause
    async def test_18_staff_are_accounts(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            for is_staff in (True, False):
                await stores.users.set_staff(user.address.key, is_staff)
                found = await stores.users.find(user.id)
                assert found is not None
                assert found.is_staff is is_staff
            await stores.users.register(make_registration("bob@example.com", "Bob"), NOW)
            for odd in (*ODD_STRINGS, "bob@example.com"):
                await refused(UserNotFound, stores.users.set_staff(odd, True))

    @clause
    async def test_19_people_come_newest_first_and_by_address(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await join(stores, "ada@example.com", "Ada", at=NOW)
            for n in range(1, 6):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(f"u{n % 2}@example.com", f"User {n}", at=at), at)
            everybody = [person.username.shown for person in await _people(stores, Window())]
            assert everybody == ["User 5", "User 4", "User 3", "User 2", "User 1", "Ada"]
            part = [person.username.shown for person in await _people(stores, Window(1, 3))]
            assert part == everybody[1:4]
            assert await stores.users.list_users(Window(6, 3)) == (6, [])
            assert await _usernames(stores, "u1@example.com") == ["User 5", "User 3", "User 1"]
            for odd in ODD_STRINGS:
                assert await stores.users.list_users(Window(), odd) == (0, [])

    @clause
    async def test_19_people_of_the_same_time_have_one_order(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(4):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
                await join(stores, f"v{n}@example.com", f"Voter {n}")
            everybody = [person.id for person in await _people(stores, Window())]
            assert everybody == sorted(everybody)
            assert [(await _people(stores, Window(n, 1)))[0].id for n in range(8)] == everybody

    @clause
    async def test_19_people_are_of_one_state(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n, name in enumerate(("plain", "staff", "gone", "gone staff")):
                user, _ = await join(stores, f"u{n}@example.com", name, at=NOW + n * _MINUTE)
                if "staff" in name:
                    await stores.users.set_staff(user.address.key, True)
                if "gone" in name:
                    await stores.users.set_active(user.address.key, False, NOW)
            await stores.users.register(make_registration("u0@example.com", "decoy", at=NOW + _HOUR), NOW + _HOUR)
            await stores.users.register(make_registration("u9@example.com", "waits", at=NOW + _HOUR), NOW + _HOUR)
            expected = {
                None: ["waits", "gone staff", "gone", "staff", "plain"],
                UserState.ACCOUNT: ["gone staff", "gone", "staff", "plain"],
                UserState.ACTIVE: ["staff", "plain"],
                UserState.INACTIVE: ["gone staff", "gone"],
                UserState.STAFF: ["gone staff", "staff"],
                UserState.PENDING: ["waits"],
            }
            for state, names in expected.items():
                total, people = await stores.users.list_users(Window(limit=1), state=state)
                assert (total, [person.username.shown for person in people]) == (len(names), names[:1])
                listed = await _people(stores, Window(), state=state)
                assert [person.username.shown for person in listed] == names

    @clause
    async def test_19_a_search_finds_parts_of_addresses_and_usernames(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await join(stores, "Ada.L@Bücher.example", "Straße 1", at=NOW)
            await join(stores, "bob_1@example.com", "Éva", at=NOW + _MINUTE)
            await stores.users.register(make_registration("bobx1@example.com", "100%"), NOW + _HOUR)
            searches = {
                "ada.l@": ["Straße 1"],
                "ADA": ["Straße 1"],
                "BÜCHER": ["Straße 1"],
                "strasse": ["Straße 1"],
                "STRASSE 1": ["Straße 1"],
                "éVA": ["Éva"],
                "E\u0301va": ["Éva"],
                "example.com": ["Éva", "100%"],
                "bob_": ["Éva"],
                "0%": ["100%"],
                "b%1": [],
                "\\": [],
                "": ["Éva", "Straße 1", "100%"],
            }
            for search, names in searches.items():
                total, people = await stores.users.list_users(Window(), search=search)
                assert total == len(names), search
                assert sorted(person.username.shown for person in people) == sorted(names), search
            (pending,) = await _people(stores, Window(), search="BOB", state=UserState.PENDING)
            assert pending.username.shown == "100%"
            assert await stores.users.list_users(Window(), "bob_1@example.com", search="ada") == (0, [])
            for odd in set(ODD_STRINGS) - {"", "%"}:
                assert await stores.users.list_users(Window(), search=odd) == (0, [])

    @clause
    async def test_20_an_export_has_everything_but_secrets(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await join(stores)
            _, refresh_hash = await log_in(stores, user, NOW, device="Ada's phone", network="192.0.2.1")
            reset = await reset_link(stores, user, NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            pending = make_registration("bob@example.com", "Bob")
            await stores.users.register(pending, NOW)
            export = await stores.users.export(user.address.key)
            assert set(export) == {"account", "registrations", "sessions", "login_networks", "mails"}
            assert export["account"]["id"] == user.id
            assert export["account"]["email"] == user.address.spelling
            assert export["account"]["username"] == "Ada"
            assert [session["device"] for session in export["sessions"]] == ["Ada's phone"]
            assert [one["network"] for one in export["login_networks"]] == ["192.0.2.1"]
            assert len(export["mails"]) == 3
            other = await stores.users.export("bob@example.com")
            assert (other["account"], other["sessions"]) == (None, [])
            assert [one["username"] for one in other["registrations"]] == ["Bob"]
            assert len(other["mails"]) == 1
            (claimed,) = await stores.outbox.claim("post", NOW, 1, _LEASE)
            text = json.dumps([export, other], allow_nan=False)
            secrets = [user.password_hash, pending.password_hash, refresh_hash, link.hashed, reset.hashed]
            secrets += [kept for one in (link, reset, *claimed.links) for kept in (one.hashed, one.sealed)]
            assert not [secret for secret in secrets if secret in text]

    @clause
    async def test_20_nobody_has_an_empty_export(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for odd in ODD_STRINGS:
                export = await stores.users.export(odd)
                assert set(export) == {"account", "registrations", "sessions", "login_networks", "mails"}
                assert not any(export.values())

    @clause
    async def test_21_an_erased_address_leaves_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await join(stores)
            bystander, _ = await join(stores, "bob@example.com", "Bob")
            reset = await reset_link(stores, user, NOW)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.users.register(make_registration(username="Eve"), NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            (leased,) = [
                mail
                for mail in await stores.outbox.claim("post", NOW, 10, _LEASE)
                if mail.kind is MailKind.ADDRESS_TAKEN
            ]
            assert list(await stores.users.erase(user.address.key, NOW)) == [session.id]
            assert await stores.users.find(user.id) is None
            export = await stores.users.export(user.address.key)
            assert [export[part] for part in ("account", "registrations", "sessions")] == [None, [], []]
            assert [mail["kind"] for mail in export["mails"]] == [MailKind.ACCOUNT_ERASED]
            assert not await stores.sessions.is_live(session.id)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.sessions.rotate(refresh_hash, _hashes(1), NOW, NOW + _DAY) is None
            await refused(InvalidLink, stores.users.find_activation_link(link.uid, link.hashed, NOW))
            await refused(InvalidLink, stores.users.find_reset_user(reset.uid, reset.hashed, NOW))
            assert not await stores.outbox.complete("post", replace(leased, state=MailState.SENT, sent_at=NOW))
            (notice,) = await deliver(stores, NOW + _HOUR)
            assert (notice.kind, notice.recipient) == (MailKind.ACCOUNT_ERASED, user.address.spelling)
            assert (await stores.users.export(user.address.key))["mails"] == []
            assert list(await stores.users.erase(user.address.key, NOW)) == []
            assert not await deliver(stores, NOW + _HOUR)
            assert [person.id for person in await _people(stores, Window())] == [bystander.id]
            await join(stores, at=NOW + _HOUR)

    @clause
    async def test_21_a_pending_address_can_be_erased(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (link,) = (await _links_of(stores, NOW)).values()
            await stores.users.register(make_registration(username="Eve"), NOW)
            assert list(await stores.users.erase("ada@example.com", NOW)) == []
            assert not await _people(stores, Window())
            assert not await _mails(stores, Window())
            await refused(InvalidLink, stores.users.activate(link.uid, link.hashed, NOW))
            for odd in ODD_STRINGS:
                assert list(await stores.users.erase(odd, NOW)) == []

    @clause
    async def test_22_a_purge_leaves_what_is_of_use(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, link = await join(stores)
            session, refresh_hash = await log_in(stores, user, NOW)
            await stores.users.register(make_registration("bob@example.com", "Bob"), NOW)
            await deliver(stores, NOW)
            assert await stores.users.purge(NOW + _HOUR) == 0
            assert await _is_used(stores, link, NOW)
            assert await stores.sessions.rotate(refresh_hash, _hashes(1), NOW + _HOUR, NOW + 5 * _DAY) is not None
            await stores.users.purge(NOW + LINK_TTL + 6 * _DAY)
            assert await _usernames(stores, "bob@example.com") == ["Bob"]
            assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_22_registrations_go_7_days_after_their_link_unless_a_mail_is_pending(self) -> None:
        async with self.open(UNLIMITED) as stores:
            _, used = await join(stores)
            for name in ("sent", "stuck"):
                await stores.users.register(make_registration(f"{name}@example.com", name), NOW)
            for mail in await stores.outbox.claim("post", NOW, 10, _LEASE):
                if mail.recipient.startswith("sent"):
                    await stores.outbox.complete("post", replace(mail, state=MailState.SENT, sent_at=NOW))
                else:
                    await stores.outbox.complete("post", replace(mail, due_at=NOW + 60 * _DAY))
            late = NOW + LINK_TTL + 7 * _DAY + _MINUTE
            assert await stores.users.purge(late) > 0
            assert await stores.users.purge(late) == 0
            assert {person.username.shown for person in await _people(stores, Window())} == {"Ada", "stuck"}
            await refused(InvalidLink, stores.users.find_activation_link(used.uid, used.hashed, late))
            (mail,) = await deliver(stores, NOW + 60 * _DAY)
            assert await _is_good(stores, mail.links[0], NOW + 60 * _DAY)

    @clause
    async def test_22_sent_mails_go_after_30_days(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            await stores.users.purge(NOW + 29 * _DAY)
            assert len(await _mails(stores, Window(), MailState.SENT)) == 1
            assert await stores.users.purge(NOW + 30 * _DAY + _MINUTE) > 0
            assert not await _mails(stores, Window())
            assert (await stores.users.export(user.address.key))["mails"] == []

    @clause
    async def test_22_marks_of_ended_sessions_go_after_a_day(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, _ = await log_in(stores, user, NOW)
            await stores.sessions.end(user.id, NOW)
            await stores.users.purge(NOW + _DAY - _MINUTE)
            assert session.id in await stores.sessions.ended_since(NOW)
            assert await stores.users.purge(NOW + _DAY + _MINUTE) > 0
            assert session.id not in await stores.sessions.ended_since(NOW)
            assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_23_a_person_is_found_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            pending = make_registration("bob@example.com", "Bob")
            await stores.users.register(pending, NOW)
            decoy = make_registration("ada@example.com", "Someone")
            await stores.users.register(decoy, NOW)
            for person in await _people(stores, Window()):
                assert await stores.users.find_summary(person.id) == person
            found = [await stores.users.find_summary(one) for one in (user.id, pending.id)]
            assert [person and person.is_pending for person in found] == [False, True]
            for odd in (*ODD_STRINGS, new_id(), decoy.id):
                assert await stores.users.find_summary(odd) is None

    @staticmethod
    def _reset(stores: Stores) -> Callable[[str, str, datetime], Awaitable[object]]:
        return lambda uid, hashed, now: stores.users.reset_password(uid, hashed, "$made-up$reset", now)


class SessionStoreContract(StoresContract):
    """What every `SessionStore` keeps."""

    @clause
    async def test_1_a_login_is_kept(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session = Session(new_id(), user.id, "phone ☎", NOW + _HOUR, NOW + _HOUR)
            start = stores.sessions.start(session, _hashes(1)[0], NOW + _DAY, password_hash=user.password_hash)
            assert list(await start) == []
            assert list(await stores.sessions.list_page(user.id)) == [session]
            assert await stores.sessions.is_live(session.id)
            assert await stores.users.find(user.id) == replace(user, last_login=NOW + _HOUR)
            (person,) = await _people(stores, Window())
            assert person.last_login == NOW + _HOUR

    @clause
    async def test_1_the_session_used_longest_ago_gives_way(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            started = [await log_in(stores, user, NOW + timedelta(seconds=n)) for n in range(MAX_SESSIONS)]
            first, second = started[0], started[1]
            assert await stores.sessions.rotate(first[1], _hashes(1), NOW + _HOUR, NOW + _DAY) is not None
            late = Session(new_id(), user.id, "late", NOW + 2 * _HOUR, NOW + 2 * _HOUR)
            start = stores.sessions.start(late, _hashes(1)[0], NOW + _DAY, password_hash=user.password_hash)
            assert list(await start) == [second[0].id]
            listed = [session.id for session in await stores.sessions.list_page(user.id)]
            assert len(listed) == MAX_SESSIONS
            assert listed[:2] == [late.id, first[0].id]
            assert second[0].id in await stores.sessions.ended_since(NOW + 2 * _HOUR)
            assert await stores.sessions.rotate(second[1], _hashes(1), NOW + 2 * _HOUR, NOW + _DAY) is None

    @clause
    async def test_2_a_new_hash_takes_the_place_of_the_old_one(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session = Session(new_id(), user.id, "phone", NOW, NOW)
            await stores.sessions.start(
                session, _hashes(1)[0], NOW + _DAY, password_hash=user.password_hash, rehashed=_NEW_HASH
            )
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.password_hash == _NEW_HASH

    @clause
    async def test_3_no_session_starts_without_an_active_account(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            for user_id in (user.id, new_id()):
                await self._refused(stores, user_id, user.password_hash)
            found = await stores.users.find(user.id)
            assert found is not None
            assert found.last_login is None

    @clause
    async def test_3_no_session_starts_by_a_password_that_was_changed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            link = await reset_link(stores, user, NOW)
            await stores.users.reset_password(link.uid, link.hashed, _NEW_HASH, NOW)
            await self._refused(stores, user.id, user.password_hash, rehashed="$made-up$rehashed")
            await stores.users.change_password(user.id, _NEW_HASH, "$made-up$3", except_session_id="", now=NOW)
            await self._refused(stores, user.id, _NEW_HASH)
            found = await stores.users.find(user.id)
            assert found is not None
            assert (found.password_hash, found.last_login) == ("$made-up$3", None)

    @clause
    async def test_3_of_logins_in_progress_none_outlives_a_new_password(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            link = await reset_link(stores, user, NOW)

            async def start() -> None:
                session = Session(new_id(), user.id, "phone", NOW, NOW)
                await stores.sessions.start(session, _hashes(1)[0], NOW + _DAY, password_hash=user.password_hash)

            begun = [start() for _ in range(20)]
            reset = stores.users.reset_password(link.uid, link.hashed, _NEW_HASH, NOW)
            results = await asyncio.gather(*begun[:10], reset, *begun[10:], return_exceptions=True)
            assert all(
                result is None or isinstance(result, InvalidCredentials)
                for place, result in enumerate(results)
                if place != 10
            )
            assert not isinstance(results[10], BaseException)
            assert not await stores.sessions.list_page(user.id)

    @staticmethod
    async def _refused(stores: Stores, user_id: str, password_hash: str, rehashed: str | None = None) -> None:
        session = Session(new_id(), user_id, "phone", NOW, NOW)
        start = stores.sessions.start(
            session, _hashes(1)[0], NOW + _DAY, password_hash=password_hash, rehashed=rehashed, network="192.0.2.1"
        )
        await refused(InvalidCredentials, start)
        assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_4_tokens_follow_each_other(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            for n in range(1, 5):
                at = NOW + n * _DAY
                successors = _hashes(2)
                rotated = await stores.sessions.rotate(current, successors, at, at + 5 * _DAY)
                assert rotated == RotationResult(replace(session, last_used_at=at), 0)
                current = successors[0]
            (listed,) = await stores.sessions.list_page(user.id)
            assert listed.last_used_at == NOW + 4 * _DAY

    @clause
    async def test_4_no_token_is_good_longer_than_a_session_may_last(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            _, current = await log_in(stores, user, NOW)
            lifetime = timedelta(days=12)
            for n in range(4, 12, 4):
                at, successors = NOW + n * _DAY, _hashes(1)
                rotated = await stores.sessions.rotate(current, successors, at, at + 5 * _DAY, lifetime=lifetime)
                assert rotated is not None
                current = successors[0]
            end = NOW + lifetime
            assert await stores.sessions.rotate(current, _hashes(1), end, end + _DAY) is None, (
                "its last token has ended"
            )
            _, other = await log_in(stores, user, NOW)
            assert await stores.sessions.rotate(other, _hashes(1), NOW + _DAY, NOW + 5 * _DAY, lifetime=_DAY) is None

    @clause
    async def test_4_of_a_hundred_who_rotate_at_once_one_decides(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            hashes = _hashes(100)
            offers = [hashes[n:] + hashes[:n] for n in range(100)]
            results = await asyncio.gather(
                *(stores.sessions.rotate(current, offer, NOW, NOW + _DAY) for offer in offers)
            )
            chosen = {offer[one.successor] for offer, one in zip(offers, results, strict=True) if one is not None}
            assert all(results)
            assert len(chosen) == 1
            assert await stores.sessions.is_live(session.id)
            assert await stores.sessions.rotate(next(iter(chosen)), _hashes(1), NOW, NOW + _DAY) is not None
            for loser in hashes:
                if loser not in chosen:
                    assert await stores.sessions.rotate(loser, _hashes(1), NOW, NOW + _DAY) is None

    @clause
    async def test_5_a_repeat_gets_the_same_successor_for_a_while(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            successors = _hashes(2)
            assert await stores.sessions.rotate(current, successors, NOW, NOW + _DAY) is not None
            for offer, place in ((successors, 0), (_hashes(1) + successors, 1)):
                again = await stores.sessions.rotate(current, offer, NOW + GRACE, NOW + _DAY)
                assert again is not None
                assert (again.session.id, again.successor) == (session.id, place)
            assert await stores.sessions.is_live(session.id)

    @clause
    async def test_5_a_token_that_comes_late_again_ends_the_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            other, _ = await log_in(stores, user, NOW)
            successors = _hashes(1)
            await stores.sessions.rotate(current, successors, NOW, NOW + _DAY)
            late = NOW + GRACE + timedelta(seconds=1)
            assert await stores.sessions.rotate(current, successors, late, NOW + _DAY) is None
            assert not await stores.sessions.is_live(session.id)
            assert await stores.sessions.is_live(other.id)
            assert list(await stores.sessions.ended_since(late)) == [session.id]
            assert await stores.sessions.rotate(successors[0], _hashes(1), late, NOW + _DAY) is None

    @clause
    async def test_5_a_token_whose_successor_was_used_ends_the_session(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            successors, third = _hashes(1), _hashes(1)
            await stores.sessions.rotate(current, successors, NOW, NOW + _DAY)
            await stores.sessions.rotate(successors[0], third, NOW, NOW + _DAY)
            assert await stores.sessions.rotate(current, successors, NOW, NOW + _DAY) is None
            assert not await stores.sessions.is_live(session.id)
            assert await stores.sessions.rotate(third[0], _hashes(1), NOW, NOW + _DAY) is None

    @clause
    async def test_6_unknown_and_expired_tokens_rotate_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, current = await log_in(stores, user, NOW)
            for odd in (*ODD_STRINGS, *_hashes(1)):
                assert await stores.sessions.rotate(odd, _hashes(1), NOW, NOW + _DAY) is None
            late = NOW + 5 * _DAY + _MINUTE
            assert await stores.sessions.rotate(current, _hashes(1), late, late + _DAY) is None
            assert session.last_used_at == (await stores.sessions.list_page(user.id))[0].last_used_at

    @clause
    async def test_7_sessions_are_listed_by_last_use_for_their_account(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            bystander, _ = await join(stores, "bob@example.com", "Bob")
            await log_in(stores, bystander, NOW)
            started = [await log_in(stores, user, NOW + n * _MINUTE, device=str(n)) for n in range(3)]
            await stores.sessions.rotate(started[1][1], _hashes(1), NOW + _HOUR, NOW + _DAY)
            assert [session.device for session in await stores.sessions.list_page(user.id)] == ["1", "2", "0"]
            for odd in ODD_STRINGS:
                assert not await stores.sessions.list_page(odd)

    @clause
    async def test_8_sessions_end_one_or_all_but_one_or_all(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            bystander, _ = await join(stores, "bob@example.com", "Bob")
            other, _ = await log_in(stores, bystander, NOW)
            started = [await log_in(stores, user, NOW) for _ in range(5)]
            ids = [session.id for session, _ in started]
            end = stores.sessions.end
            assert list(await end(user.id, NOW, session_id=ids[0])) == [ids[0]]
            assert list(await end(user.id, NOW, session_id=ids[0])) == []
            assert list(await end(user.id, NOW, session_id=other.id)) == []
            for odd in ODD_STRINGS:
                assert list(await end(user.id, NOW, session_id=odd)) == []
                assert list(await end(odd, NOW)) == []
            assert sorted(await end(user.id, NOW, except_session_id=ids[4])) == sorted(ids[1:4])
            assert [session.id for session in await stores.sessions.list_page(user.id)] == [ids[4]]
            assert list(await end(user.id, NOW)) == [ids[4]]
            assert await stores.sessions.is_live(other.id)
            for _, refresh_hash in started:
                assert await stores.sessions.rotate(refresh_hash, _hashes(1), NOW, NOW + _DAY) is None

    @clause
    async def test_8_of_many_who_end_one_session_one_did(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, _ = await log_in(stores, user, NOW)
            results = await asyncio.gather(*(stores.sessions.end(user.id, NOW) for _ in range(10)))
            assert [list(result) for result in results if result] == [[session.id]]

    @clause
    async def test_8_the_owner_is_notified_where_that_is_asked_for(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            for notify in (False, True):
                started = [await log_in(stores, user, NOW) for _ in range(3)]
                ended = await stores.sessions.end(user.id, NOW, except_session_id=started[0][0].id, notify=notify)
                assert len(ended) >= 2
                mails = [(mail.kind, mail.recipient) for mail in await deliver(stores, NOW)]
                assert mails == [(MailKind.SESSIONS_ENDED, user.address.spelling)] * notify
            assert len(await stores.sessions.end(user.id, NOW, notify=True)) == 1
            assert len(await deliver(stores, NOW)) == 1
            assert not await stores.sessions.end(user.id, NOW, notify=True)
            assert not await stores.sessions.end(new_id(), NOW, notify=True)
            assert not await deliver(stores, NOW)

    @clause
    async def test_9_any_string_may_be_asked_whether_it_lives(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, _ = await log_in(stores, user, NOW)
            assert await stores.sessions.is_live(session.id)
            for odd in (*ODD_STRINGS, new_id()):
                assert not await stores.sessions.is_live(odd)
            await stores.sessions.end(user.id, NOW)
            assert not await stores.sessions.is_live(session.id)

    @clause
    async def test_10_sessions_that_ended_are_told_from_their_time_on(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            ids = []
            for n in range(3):
                session, _ = await log_in(stores, user, NOW)
                await stores.sessions.end(user.id, NOW + n * _HOUR)
                ids.append(session.id)
            for n in range(4):
                told = await stores.sessions.ended_since(NOW + n * _HOUR)
                assert sorted(told) == sorted(ids[n:])

    @clause
    async def test_10_whatever_ends_a_session_is_told(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            ids = [(await log_in(stores, user, NOW))[0].id]
            await stores.users.change_password(
                user.id, user.password_hash, _NEW_HASH, except_session_id=new_id(), now=NOW + _HOUR
            )
            ids.append((await log_in(stores, user, NOW))[0].id)
            link = await reset_link(stores, user, NOW)
            await stores.users.reset_password(link.uid, link.hashed, "$made-up$3", NOW + _HOUR)
            ids.append((await log_in(stores, user, NOW))[0].id)
            await stores.users.set_active(user.address.key, False, NOW + _HOUR)
            await stores.users.set_active(user.address.key, True, NOW + _HOUR)
            ids.append((await log_in(stores, user, NOW))[0].id)
            await stores.users.erase(user.address.key, NOW + _HOUR)
            assert sorted(await stores.sessions.ended_since(NOW + _HOUR)) == sorted(ids)

    @clause
    async def test_11_and_12_a_session_is_found_by_its_id_and_its_owner_by_a_token(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            session, first = await log_in(stores, user, NOW)
            assert await stores.sessions.find(session.id) == session
            (second,) = successors = _hashes(1)
            await stores.sessions.rotate(first, successors, NOW, NOW + _DAY)
            for known in (first, second):
                assert await stores.sessions.find_owner(known) == user.id
            for odd in (*ODD_STRINGS, *_hashes(1)):
                assert await stores.sessions.find(odd) is None
                assert await stores.sessions.find_owner(odd) is None
            await stores.sessions.end(user.id, NOW)
            assert await stores.sessions.find(session.id) is None
            assert await stores.sessions.find_owner(second) is None

    @clause
    async def test_13_networks_that_logged_in_are_remembered_for_their_account(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            key = user.address.key
            await log_in(stores, user, NOW)
            assert list(await stores.sessions.networks(key)) == []
            names = [f"192.0.2.{n}" for n in range(MAX_NETWORKS + 2)]
            for n, name in enumerate(names):
                await log_in(stores, user, NOW + n * _MINUTE, network=name)
            await log_in(stores, user, NOW + _HOUR, network=names[2])
            kept = [names[2], *(name for name in reversed(names[2:]) if name != names[2])]
            assert list(await stores.sessions.networks(key)) == kept
            for odd in (*ODD_STRINGS, "nobody@example.com"):
                assert list(await stores.sessions.networks(odd)) == []
            await stores.users.erase(key, NOW)
            assert list(await stores.sessions.networks(key)) == []


class OutboxContract(StoresContract):
    """What every `Outbox` keeps."""

    @clause
    async def test_1_an_address_gets_no_more_than_the_limit_in_any_window(self) -> None:
        async with self.open(LIMITED) as stores:
            sent: list[datetime] = []
            for n in range(40):
                at = NOW + n * timedelta(minutes=7)
                if n < 25:
                    asked = make_registration(("ada@example.com", "ADA@example.com")[n % 2], f"Ada {n}", at=at)
                    await stores.users.register(asked, at)
                    await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", at)
                sent += [at for _ in await deliver(stores, at)]
            for at in sent:
                assert sum(at <= other < at + _HOUR for other in sent) <= 3
            assert len(sent) >= 9
            assert not await _mails(stores, Window(), MailState.PENDING)

    @clause
    async def test_1_all_kinds_count_together(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await join(stores)
            await stores.users.register(make_registration(username="Eve"), NOW)
            await reset_link(stores, user, NOW)
            await stores.users.register(make_registration(username="Bob"), NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW)
            for at in (NOW, NOW + _HOUR - _MINUTE):
                assert not await deliver(stores, at)
            late = await deliver(stores, NOW + _HOUR)
            assert {mail.kind for mail in late} == {MailKind.ADDRESS_TAKEN, MailKind.PASSWORD_RESET}
            assert all(mail.recipient == user.address.spelling for mail in late)

    @clause
    async def test_1_another_address_has_a_limit_of_its_own(self) -> None:
        async with self.open(LIMITED) as stores:
            for name in ("ada", "bob"):
                for n in range(4):
                    await stores.users.register(make_registration(f"{name}@example.com", f"{name} {n}"), NOW)
            recipients = sorted(mail.recipient for mail in await deliver(stores, NOW))
            assert recipients == ["ada@example.com"] * 3 + ["bob@example.com"] * 3

    @clause
    async def test_1_a_mail_over_the_limit_waits_without_links_until_it_is_allowed(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(6):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(username=f"Ada {n}", at=at), at)
            later = NOW + 6 * _MINUTE
            first = await _links_of(stores, later)
            assert await _names(stores, first.values()) == ["Ada 0", "Ada 1", "Ada 2"]
            (waiting,) = await _mails(stores, Window(), MailState.PENDING)
            assert (waiting.kind, waiting.recipient, waiting.due_at) == (MailKind.ACTIVATION, "", NOW + _HOUR)
            (mail,) = await deliver(stores, NOW + _HOUR)
            assert await _names(stores, mail.links) == ["Ada 3", "Ada 4", "Ada 5"]
            for link in (*first.values(), *mail.links):
                assert await _is_good(stores, link, NOW + _HOUR)
            assert mail.recipient == "Ada@example.com"

    @clause
    async def test_1_a_wanted_mail_over_the_limit_is_put_off(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await join(stores)
            links = [await reset_link(stores, user, NOW + n * _MINUTE) for n in (1, 2)]
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW + 3 * _MINUTE)
            assert not await deliver(stores, NOW + 3 * _MINUTE)
            (waiting,) = await _mails(stores, Window(), MailState.PENDING)
            assert (waiting.recipient, waiting.due_at) == ("", NOW + _HOUR)
            assert await stores.users.find_reset_user(links[1].uid, links[1].hashed, NOW + 3 * _MINUTE) == user
            (mail,) = await deliver(stores, NOW + _HOUR)
            assert mail.kind is MailKind.PASSWORD_RESET

    @clause
    async def test_1_strangers_use_up_no_limit_but_their_own(self) -> None:
        async with self.open(LIMITED) as stores:
            for n in range(4):
                strange = make_registration(username=f"Eve {n}", requested_from="198.51.100.0/24")
                await stores.users.register(strange, NOW)
            assert len(await deliver(stores, NOW)) == 3
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.users.register(own, NOW)
            (mail,) = await deliver(stores, NOW)
            assert [link.uid for link in mail.links] == [own.id]

    @clause
    async def test_1_all_networks_together_have_a_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await join(stores)
            await log_in(stores, user, NOW, network="2001:db8:1:2::/64")
            for n in range(20):
                await stores.users.request_mail(
                    MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=f"198.51.{n}.0/24"
                )
            assert len(await deliver(stores, NOW)) == TOTAL * 3 - 1, "one was the activation"
            known, strange = "2001:db8:1::/48", "2001:db8:2::/48"
            for network in (strange, known):
                await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=network)
            (mail,) = await deliver(stores, NOW)
            assert mail.kind is MailKind.PASSWORD_RESET

    @clause
    async def test_1_no_limit_holds_back_what_says_what_has_happened(self) -> None:
        async with self.open(LIMITED) as stores:
            user, _ = await join(stores)
            for n in range(TOTAL * 3):
                await stores.users.request_mail(
                    MailKind.PASSWORD_RESET, user.address.key, NOW, requested_from=f"198.51.{n}.0/24"
                )
            await deliver(stores, NOW)
            for n, now in enumerate([NOW, NOW + _MINUTE, NOW + 2 * _MINUTE, NOW + 3 * _MINUTE]):
                old = user.password_hash if n == 0 else f"hash {n - 1}"
                await stores.users.change_password(user.id, old, f"hash {n}", except_session_id="", now=now)
                (notice,) = await deliver(stores, now)
                assert notice.kind is MailKind.PASSWORD_CHANGED
            (due,) = await deliver(stores, NOW + _HOUR)
            assert due.kind is MailKind.PASSWORD_RESET, "notices don't count"

    @clause
    async def test_1_without_a_limit_nothing_waits(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(30):
                await stores.users.register(make_registration(username=f"Ada {n}"), NOW)
            assert len(await deliver(stores, NOW)) == 30

    @clause
    async def test_1_many_at_once_stay_within_the_limit(self) -> None:
        async with self.open(LIMITED) as stores:
            asked = [make_registration(username=f"Ada {n}") for n in range(20)]
            await asyncio.gather(*(stores.users.register(one, NOW) for one in asked))
            assert len(await deliver(stores, NOW)) == 3
            assert len(await _mails(stores, Window(), MailState.PENDING)) == 1
            assert len(await _people(stores, Window(limit=100))) == 20

    @clause
    async def test_2_a_mail_made_late_renews_the_newest_registrations(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(username=f"Ada {n}", at=at), at)
            at = NOW + 5 * _MINUTE
            before = await _links_of(stores, at)
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", at)
            for link in before.values():
                assert await _is_good(stores, link, at)
            (mail,) = await deliver(stores, at)
            assert await _names(stores, mail.links) == [f"Ada {n}" for n in range(5 - RENEWED, 5)]
            renewed = {link.uid for link in mail.links}
            for link in before.values():
                if link.uid in renewed:
                    await refused(InvalidLink, stores.users.find_activation_link(link.uid, link.hashed, at))
                else:
                    assert await _is_good(stores, link, at)
            for link in mail.links:
                assert await _is_good(stores, link, at)
                token = stores.keys.decrypt_token(link.sealed, link.hashed)
                assert token is not None

    @clause
    async def test_2_a_registration_whose_link_expired_is_renewed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (old,) = (await _links_of(stores, NOW)).values()
            late = NOW + LINK_TTL + _HOUR
            await refused(InvalidLink, stores.users.activate(old.uid, old.hashed, late))
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", late)
            (new,) = (await _links_of(stores, late)).values()
            assert new.uid == old.uid
            assert (await stores.users.activate(new.uid, new.hashed, late)).is_new

    @clause
    async def test_2_registrations_that_wait_for_their_mail_end_no_link_of_others(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.users.register(own, NOW)
            for n in range(5):
                strange = make_registration(username=f"Eve {n}", requested_from="198.51.100.0/24")
                await stores.users.register(strange, NOW)
            links = await _links_of(stores, NOW)
            assert len(links) == 2
            (late,) = await deliver(stores, NOW + _HOUR)
            assert len(late.links) == RENEWED
            for link in (*links.values(), *late.links):
                assert await _is_good(stores, link, NOW + _HOUR)

    @clause
    async def test_2_a_renewal_begins_with_what_its_own_network_has_registered(self) -> None:
        async with self.open(UNLIMITED) as stores:
            own = make_registration(username="Ada", requested_from="192.0.2.0/24")
            await stores.users.register(own, NOW)
            for n in range(5):
                at = NOW + _MINUTE
                strange = make_registration(username=f"Eve {n}", at=at, requested_from="198.51.100.0/24")
                await stores.users.register(strange, at)
            await deliver(stores, NOW + _MINUTE)
            await stores.users.request_mail(
                MailKind.ACTIVATION_RENEWAL, own.address.key, NOW + _HOUR, requested_from=own.requested_from
            )
            (mail,) = await deliver(stores, NOW + _HOUR)
            assert mail.links[0].uid == own.id
            assert len(mail.links) == RENEWED

    @clause
    async def test_2_mailboxes_that_share_a_key_get_mails_of_their_own(self) -> None:
        async with self.open(UNLIMITED) as stores:
            sharp, plain = make_address("straße@example.com"), make_address("strasse@example.com")
            assert sharp.key == plain.key
            assert sharp.mailbox != plain.mailbox
            for address, name in ((sharp, "Sharp"), (plain, "Plain")):
                await stores.users.register(make_registration(address.spelling, name), NOW)
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, sharp.key, NOW + _MINUTE)
            mails = await deliver(stores, NOW + _MINUTE)
            assert {mail.recipient for mail in mails} == {sharp.spelling, plain.spelling}
            for mail in mails:
                wanted = "Sharp" if mail.recipient == sharp.spelling else "Plain"
                assert await _names(stores, mail.links) == [wanted]
            renewed = [mail for mail in mails if mail.recipient == sharp.spelling][-1].links[0]
            assert await _is_good(stores, renewed, NOW + _MINUTE)

    @clause
    async def test_2_spellings_of_one_mailbox_share_a_mail(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n, spelling in enumerate(("ada@example.com", "ADA@Example.com")):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(spelling, f"Ada {n}", at=at), at)
            await deliver(stores, NOW + _MINUTE)
            await stores.users.request_mail(MailKind.ACTIVATION_RENEWAL, "ada@example.com", NOW + _HOUR)
            (mail,) = await deliver(stores, NOW + _HOUR)
            assert mail.recipient == "ADA@Example.com"
            assert len(mail.links) == 2

    @clause
    async def test_2_another_mailbox_waits_for_its_mail_like_everybody(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            for spelling, name in (("straße@example.com", "Sharp"), ("strasse@example.com", "Plain")):
                await stores.users.register(make_registration(spelling, name), NOW)
            sent = [mail for n in range(4) for mail in await deliver(stores, NOW + n * _HOUR)]
            assert {mail.recipient for mail in sent} == {"straße@example.com", "strasse@example.com"}
            for mail in sent:
                assert await _names(stores, mail.links) == ["Sharp" if "ß" in mail.recipient else "Plain"]
            assert not await _mails(stores, Window(), MailState.PENDING)

    @clause
    async def test_2_a_reset_goes_to_the_spelling_of_the_account(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores, "Straße@Example.com", "Sharp")
            await stores.users.request_mail(MailKind.PASSWORD_RESET, "strasse@example.com", NOW)
            (mail,) = await deliver(stores, NOW)
            assert mail.recipient == user.address.spelling
            assert [link.uid for link in mail.links] == [user.id]

    @clause
    async def test_2_a_reset_mail_leaves_earlier_reset_links_as_they_are(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            links = [await reset_link(stores, user, NOW) for _ in range(2)]
            for link in links:
                assert await stores.users.find_reset_user(link.uid, link.hashed, NOW) == user

    @clause
    async def test_2_mails_that_nobody_is_there_for_are_removed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            await stores.users.set_active(user.address.key, False, NOW)
            await stores.users.register(make_registration("bob@example.com", "Bob"), NOW)
            await deliver(stores, NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, "bob@example.com", NOW)
            for key in (user.address.key, "nobody@example.com"):
                for kind in (MailKind.ACTIVATION_RENEWAL, MailKind.PASSWORD_RESET):
                    await stores.users.request_mail(kind, key, NOW)
            assert len(await _mails(stores, Window(), MailState.PENDING)) == 5
            assert not await deliver(stores, NOW)
            assert not await _mails(stores, Window(), MailState.PENDING)

    @clause
    async def test_2_a_mail_to_the_owner_that_waits_ends_with_the_account(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            user, _ = await join(stores)
            await stores.users.register(make_registration("ADA@example.com", "Eve"), NOW)
            (waiting,) = await _mails(stores, Window(), MailState.PENDING)
            assert (waiting.kind, waiting.due_at) == (MailKind.ADDRESS_TAKEN, NOW + _HOUR)
            await stores.users.erase(user.address.key, NOW)
            assert [mail.kind for mail in await deliver(stores, NOW + _HOUR)] == [MailKind.ACCOUNT_ERASED]

    @clause
    async def test_2_requests_for_unknown_addresses_delay_nobody(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            for n in range(60):
                kind = (MailKind.PASSWORD_RESET, MailKind.ACTIVATION_RENEWAL)[n % 2]
                await stores.users.request_mail(kind, f"nobody{n}@example.com", NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, NOW + _MINUTE)
            (mail,) = await stores.outbox.claim("post", NOW + _MINUTE, 1, _LEASE)
            assert mail.recipient == user.address.spelling
            assert len(await _mails(stores, Window(limit=100), MailState.PENDING)) == 1

    @clause
    async def test_3_mails_for_accounts_come_before_those_of_registrations(self) -> None:
        async with self.open(UNLIMITED) as stores:
            user, _ = await join(stores)
            for n in range(5):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            later = NOW + _HOUR
            await stores.users.request_mail(MailKind.PASSWORD_RESET, user.address.key, later)
            await stores.users.change_password(user.id, user.password_hash, _NEW_HASH, except_session_id="", now=later)
            claimed = await stores.outbox.claim("post", later, 3, _LEASE)
            kinds = [mail.kind for mail in claimed]
            assert set(kinds[:2]) == {MailKind.PASSWORD_RESET, MailKind.PASSWORD_CHANGED}
            assert kinds[2:] == [MailKind.ACTIVATION]

    @clause
    async def test_3_mails_are_leased_oldest_first_up_to_a_limit(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            at = NOW + _HOUR
            claimed = [[mail.recipient for mail in await stores.outbox.claim(owner, at, 2, _LEASE)] for owner in "abcd"]
            assert claimed == [[f"u{n}@example.com" for n in part] for part in ((0, 1), (2, 3), (4,), ())]

    @clause
    async def test_3_what_is_not_due_is_not_leased(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("post", NOW, 10, _LEASE)
            put_off = replace(mail, attempts=1, last_error="450 later", due_at=NOW + _MINUTE)
            assert await stores.outbox.complete("post", put_off)
            assert not await stores.outbox.claim("post", NOW + timedelta(seconds=59), 10, _LEASE)
            assert list(await stores.outbox.claim("post", NOW + _MINUTE, 10, _LEASE)) == [put_off]

    @clause
    async def test_3_no_mail_is_leased_to_two(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(20):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            await join(stores)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, "ada@example.com", NOW)
            for n in range(20, 40):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            owners = [f"owner {n}" for n in range(4)]
            claimed: list[str] = []
            while parts := [
                mail.id
                for part in await asyncio.gather(*(stores.outbox.claim(owner, NOW, 5, _LEASE) for owner in owners))
                for mail in part
            ]:
                claimed += parts
            assert len(claimed) == len(set(claimed)) == 21

    @clause
    async def test_3_a_lease_that_ran_out_goes_to_the_next(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("killed", NOW, 10, _LEASE)
            assert not await stores.outbox.claim("next", NOW + _LEASE - timedelta(seconds=1), 10, _LEASE)
            (again,) = await stores.outbox.claim("next", NOW + _LEASE, 10, _LEASE)
            assert again == mail

    @clause
    async def test_3_the_links_of_leased_mails_are_good_from_then_on(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            late = NOW + 3 * _DAY
            (link,) = (await _links_of(stores, late)).values()
            assert await _is_good(stores, link, late + LINK_TTL - _MINUTE)
            await refused(
                InvalidLink, stores.users.find_activation_link(link.uid, link.hashed, late + LINK_TTL + _MINUTE)
            )

    @clause
    async def test_4_a_settled_mail_is_kept_as_it_went(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("post", NOW, 10, _LEASE)
            sent = replace(mail, state=MailState.SENT, attempts=1, last_error="", sent_at=NOW + _MINUTE)
            assert await stores.outbox.complete("post", sent)
            assert list(await _mails(stores, Window())) == [replace(sent, links=())]
            assert not await stores.outbox.complete("post", replace(sent, attempts=9))
            assert not await stores.outbox.claim("post", NOW + _DAY, 10, _LEASE)
            assert list(await _mails(stores, Window())) == [replace(sent, links=())]

    @clause
    async def test_4_who_lost_the_lease_changes_nothing(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            (mail,) = await stores.outbox.claim("slow", NOW, 10, _LEASE)
            await stores.outbox.claim("next", NOW + _LEASE, 10, _LEASE)
            assert not await stores.outbox.complete("slow", replace(mail, state=MailState.DEAD, attempts=1))
            assert not await stores.outbox.complete("stranger", replace(mail, state=MailState.DEAD, attempts=1))
            assert list(await _mails(stores, Window())) == [replace(mail, links=())]
            assert await stores.outbox.complete("next", replace(mail, state=MailState.SENT, attempts=1, sent_at=NOW))

    @clause
    async def test_5_a_released_mail_is_as_if_never_claimed(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(2):
                await stores.users.register(make_registration(username=f"Ada {n}"), NOW)
            claimed = await stores.outbox.claim("post", NOW, 10, _LEASE)
            ids = [mail.id for mail in claimed]
            await stores.outbox.release("stranger", ids, NOW)
            await stores.outbox.release("post", [*ODD_STRINGS, ids[0]], NOW)
            await stores.outbox.release("post", [], NOW)
            assert [mail.id for mail in await stores.outbox.claim("next", NOW, 10, _LEASE)] == [ids[0]]
            assert not await stores.outbox.complete("post", replace(claimed[0], state=MailState.DEAD))
            assert await stores.outbox.complete("post", replace(claimed[1], state=MailState.DEAD))

    @clause
    async def test_6_mails_are_listed_newest_first_without_links(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(5):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            claimed = await stores.outbox.claim("post", NOW + _HOUR, 2, _LEASE)
            await stores.outbox.complete("post", replace(claimed[0], state=MailState.SENT, sent_at=NOW + _HOUR))
            await stores.outbox.complete("post", replace(claimed[1], state=MailState.DEAD, last_error="550 no"))
            listed = await _mails(stores, Window())
            assert [mail.recipient for mail in listed] == [f"u{n}@example.com" for n in (4, 3, 2, 1, 0)]
            assert not any(mail.links for mail in listed)
            assert await stores.outbox.list_page(Window(1, 2)) == (5, list(listed[1:3]))
            assert await stores.outbox.list_page(Window(5, 2)) == (5, [])
            for state, amount in ((MailState.PENDING, 3), (MailState.SENT, 1), (MailState.DEAD, 1)):
                total, some = await stores.outbox.list_page(Window(limit=2), state)
                assert total == amount
                assert [mail.state for mail in some] == [state] * min(amount, 2)
            assert (await _mails(stores, Window(), MailState.DEAD))[0].last_error == "550 no"

    @clause
    async def test_7_dead_mails_are_tried_again(self) -> None:
        async with self.open(UNLIMITED) as stores:
            for n in range(4):
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}"), NOW)
            claimed = await stores.outbox.claim("post", NOW, 3, _LEASE)
            for mail in claimed:
                assert await stores.outbox.complete("post", replace(mail, state=MailState.DEAD, attempts=8))
            late = NOW + 2 * _DAY
            assert not await stores.outbox.retry([*ODD_STRINGS, new_id()], late)
            assert not await stores.outbox.retry([], late)
            assert list(await stores.outbox.retry([claimed[0].id], late)) == [claimed[0].id]
            assert not await stores.outbox.retry([claimed[0].id], late)
            assert sorted(await stores.outbox.retry(None, late)) == sorted(mail.id for mail in claimed[1:])
            again = [mail for mail in await stores.outbox.claim("post", late, 10, _LEASE) if mail.due_at == late]
            assert sorted(mail.id for mail in again) == sorted(mail.id for mail in claimed)
            for mail in again:
                assert (mail.attempts, mail.state) == (0, MailState.PENDING)
                (link,) = mail.links
                assert stores.keys.decrypt_token(link.sealed, link.hashed) is not None
                assert await _is_good(stores, link, late)

    @clause
    async def test_8_mails_are_counted_and_the_oldest_that_could_have_gone_is_known(self) -> None:
        async with self.open(UNLIMITED) as stores:
            empty = await stores.outbox.stats(NOW)
            assert (dict(empty.counts), empty.waiting_since) == (dict.fromkeys(MailState, 0), None)
            for n in range(4):
                at = NOW + n * _MINUTE
                await stores.users.register(make_registration(f"u{n}@example.com", f"User {n}", at=at), at)
            late = NOW + _HOUR
            claimed = await stores.outbox.claim("post", late, 3, _LEASE)
            await stores.outbox.complete("post", replace(claimed[0], state=MailState.SENT, sent_at=late))
            await stores.outbox.complete("post", replace(claimed[1], state=MailState.DEAD))
            # A try that failed makes it due later, and waiting no less.
            await stores.outbox.complete("post", replace(claimed[2], attempts=1, due_at=late + _HOUR))
            told = await stores.outbox.stats(late)
            assert dict(told.counts) == {MailState.PENDING: 2, MailState.SENT: 1, MailState.DEAD: 1}
            assert told.waiting_since == NOW + 2 * _MINUTE

    @clause
    async def test_8_a_mail_that_a_limit_holds_back_does_not_wait_until_it_may_go(self) -> None:
        async with self.open(MailRules(LINK_TTL, Rate(1, 3600))) as stores:
            await stores.users.register(make_registration("ada@example.com", "Ada"), NOW)
            await deliver(stores, NOW)
            await stores.users.register(make_registration("ada@example.com", "Eve", at=NOW + _MINUTE), NOW + _MINUTE)
            assert (await stores.outbox.stats(NOW + 2 * _MINUTE)).waiting_since is None
            later = NOW + 2 * _HOUR
            assert (await stores.outbox.stats(later)).waiting_since == NOW + _HOUR

    @clause
    async def test_9_a_mail_is_found_by_id(self) -> None:
        async with self.open(UNLIMITED) as stores:
            await stores.users.register(make_registration(), NOW)
            await stores.users.request_mail(MailKind.PASSWORD_RESET, "bob@example.com", NOW)
            for mail in await _mails(stores, Window()):
                assert await stores.outbox.find(mail.id) == mail
            for odd in (*ODD_STRINGS, new_id()):
                assert await stores.outbox.find(odd) is None


# --- mail, passwords, tokens, limits


@dataclass(frozen=True, slots=True)
class Delivered:
    """A letter as it arrived."""

    recipients: tuple[str, ...]
    message_id: str
    header_names: frozenset[str]
    """In lower case."""
    text: str


class MailerContract:
    """What every `Mailer` keeps."""

    keeps_letters = True
    """Whether letters stay with the mailer, so that `erase` has something to do."""
    can_fail = True
    """Whether letters go to somebody who may refuse them."""

    def open(self, failure: MailRejected | MailUnavailable | None = None) -> AbstractAsyncContextManager[Mailer]:
        """The adapter under test; with a failure, whoever takes its letters fails like that."""
        raise NotImplementedError

    async def delivered(self, mailer: Mailer) -> Sequence[Delivered]:
        """What has arrived so far."""
        raise NotImplementedError

    @clause
    async def test_1_a_letter_arrives_with_its_links(self) -> None:
        async with self.open() as mailer:
            await mailer.send(self._email())
            (one,) = await self.delivered(mailer)
            assert one.recipients == ("ada@example.com",)
            assert "https://example.com/api/v1/x/" in one.text

    @clause
    async def test_1_sending_again_is_the_same_letter(self) -> None:
        async with self.open() as mailer:
            email = self._email()
            for _ in range(2):
                await mailer.send(email)
            found = await self.delivered(mailer)
            assert len({(one.message_id, one.text) for one in found}) == 1
            await mailer.send(replace(email, mail_id=new_id()))
            assert len({one.message_id for one in await self.delivered(mailer)}) == 2

    @clause
    async def test_1_no_text_adds_a_header_or_a_recipient(self) -> None:
        evil = "https://example.com/x\r\nBcc: eve@example.com\r\nX-Evil: 1\r\n\r\nhello"
        async with self.open() as mailer:
            await mailer.send(replace(self._email(), links=(evil,)))
            for recipient in ("ada@example.com\r\nBcc: eve@example.com", "ada@example.com, eve@example.com"):
                try:
                    await mailer.send(replace(self._email(), recipient=recipient))
                except MailRejected as refusal:
                    assert refusal.is_final
            found = await self.delivered(mailer)
            assert found
            for one in found:
                assert one.recipients == ("ada@example.com",)
                assert not one.header_names & {"bcc", "x-evil"}

    @clause
    async def test_1_failures_are_told_apart(self) -> None:
        if not self.can_fail:
            return
        for failure in (MailRejected("550 no", is_final=True), MailRejected("450 later", is_final=False)):
            async with self.open(failure) as mailer:
                try:
                    await mailer.send(self._email())
                except MailRejected as refusal:
                    assert refusal.is_final is failure.is_final
                else:
                    raise AssertionError("a refused letter was taken")
        async with self.open(MailUnavailable("nobody there")) as mailer:
            await refused(MailUnavailable, mailer.send(self._email()))

    @clause
    async def test_2_letters_to_an_address_are_erased(self) -> None:
        async with self.open() as mailer:
            await mailer.send(self._email())
            await mailer.send(replace(self._email(), recipient="bob@example.com"))
            await mailer.erase(make_address("ada@example.com"))
            if self.keeps_letters:
                assert [one.recipients for one in await self.delivered(mailer)] == [("bob@example.com",)]

    @staticmethod
    def _email() -> OutgoingEmail:
        return OutgoingEmail(new_id(), MailKind.ACTIVATION, "ada@example.com", NOW, ("https://example.com/api/v1/x/",))


class DeliveryNotifierContract:
    """What every `DeliveryNotifier` keeps."""

    def open(self, *, is_away: bool = False) -> AbstractAsyncContextManager[DeliveryNotifier]:
        """The adapter under test; or one whose other end is away."""
        raise NotImplementedError

    @clause
    async def test_1_it_never_raises_and_soon_returns(self) -> None:
        for is_away in (False, True):
            async with self.open(is_away=is_away) as notifier:
                for _ in range(3):
                    began = time.monotonic()
                    await notifier.notify()
                    assert time.monotonic() - began < 0.3


class PasswordHasherContract:
    """What every `PasswordHasher` keeps."""

    def open(self) -> AbstractAsyncContextManager[PasswordHasher]:
        raise NotImplementedError

    def outdated_hash(self) -> str:
        """A hash that was made with lower parameters than those of `open`."""
        raise NotImplementedError

    @clause
    async def test_1_hashes_differ_but_for_one_salt(self) -> None:
        async with self.open() as hasher:
            assert await hasher.hash("secret") != await hasher.hash("secret")
            salt = bytes(range(16))
            assert await hasher.hash("secret", salt=salt) == await hasher.hash("secret", salt=salt)
            assert await hasher.hash("secret", salt=salt) != await hasher.hash("Secret", salt=salt)
            assert "secret" not in await hasher.hash("secret")

    @clause
    async def test_2_a_hash_is_of_one_password(self) -> None:
        async with self.open() as hasher:
            for password in ("correct horse", "ü" * 512, "\x00", "a\x00b", "\ud800"):
                hashed = await hasher.hash(password)
                assert await hasher.verify(password, hashed)
                assert not await hasher.verify(password + "x", hashed)

    @clause
    async def test_2_no_hash_and_a_broken_one_are_of_no_password(self) -> None:
        async with self.open() as hasher:
            whole = await hasher.hash("secret")
            for hashed in (None, "", "\x00", "\ud800", "secret", whole[:-5], whole + "x", "$argon2id$", "$" * 1000):
                assert not await hasher.verify("secret", hashed)

    @clause
    async def test_3_lower_parameters_are_outdated(self) -> None:
        async with self.open() as hasher:
            assert not hasher.is_outdated(await hasher.hash("secret"))
            assert hasher.is_outdated(self.outdated_hash())


class AccessTokensContract:
    """What every `AccessTokens` keeps."""

    def open(self, keys: Keyring) -> AbstractAsyncContextManager[AccessTokens]:
        """The adapter under test; all that are opened are of one service, and tell the real time."""
        raise NotImplementedError

    @clause
    async def test_1_a_token_reads_as_it_was_issued(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            access = self._access()
            assert tokens.read(tokens.issue(access)) == access

    @clause
    async def test_2_any_other_string_is_refused(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            token = tokens.issue(self._access())
            changed = [
                token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(0, len(token) - 1, 7)
            ]
            for odd in (*ODD_STRINGS, *changed, token + ".", "." + token, token[:-3], f" {token}", token + "\n"):
                self._is_refused(tokens, odd)

    @clause
    async def test_2_a_token_has_its_time(self) -> None:
        async with self.open(self._keys("a")) as tokens:
            access = self._access()
            for shift in (timedelta(hours=-2), timedelta(hours=2)):
                moved = replace(access, issued_at=access.issued_at + shift, expires_at=access.expires_at + shift)
                self._is_refused(tokens, tokens.issue(moved))

    @clause
    async def test_2_only_secrets_at_hand_verify(self) -> None:
        async with (
            self.open(self._keys("a")) as old,
            self.open(self._keys("b", "a")) as both,
            self.open(self._keys("b")) as new,
        ):
            access = self._access()
            assert both.read(old.issue(access)) == access
            assert new.read(both.issue(access)) == access
            self._is_refused(new, old.issue(access))

    @staticmethod
    def _keys(*names: str) -> Keyring:
        return Keyring([name * 32 for name in names])

    @staticmethod
    def _access() -> AccessClaims:
        now = utc_now().replace(microsecond=0)
        return AccessClaims(new_id(), new_id(), new_id(), now, now + timedelta(minutes=15))

    @staticmethod
    def _is_refused(tokens: AccessTokens, token: str) -> None:
        try:
            tokens.read(token)
        except InvalidToken:
            return
        raise AssertionError(f"{token[:80]!r} was read")


class AddressSyntaxContract:
    """What every `AddressSyntax` keeps."""

    def open(self) -> AbstractAsyncContextManager[AddressSyntax]:
        raise NotImplementedError

    @clause
    async def test_1_a_mailbox_is_split(self) -> None:
        async with self.open() as syntax:
            assert syntax.split("Ada.L+x@Mail.Example.COM") == ("Ada.L+x", "mail.example.com")
            assert syntax.split("jörg@bücher.de") == ("jörg", "xn--bcher-kva.de")
            assert syntax.split("o'neil_1@example.com") == ("o'neil_1", "example.com")
            assert syntax.split("a" * 64 + "@example.com") == ("a" * 64, "example.com")

    @clause
    async def test_1_anything_else_is_refused(self) -> None:
        wrong = (
            *("", "@", "ada", "ada@", "@example.com", "ada@localhost", "a@b@example.com", "ada@example.com."),
            *(".a@example.com", "a.@example.com", "a..b@example.com", '"a b"@example.com', "a b@example.com"),
            *("ada@[127.0.0.1]", "ada@-example.com", "ada@example-.com", "ada@example..com", "ada@exa_mple.com"),
            *(
                "ada@example.com\n",
                "ada\x00@example.com",
                "\ud800@example.com",
                "ada@\ud800.com",
                "Ada <ada@example.com>",
            ),
            *("a" * 65 + "@example.com", "ada@" + "a" * 64 + ".com", "a" * 10_240, "ada@" + "a." * 5_000 + "com"),
        )
        async with self.open() as syntax:
            for text in wrong:
                try:
                    syntax.split(text)
                except InvalidEmail:
                    continue
                raise AssertionError(f"{text[:80]!r} was taken")


class UsernameSyntaxContract:
    """What every `UsernameSyntax` keeps."""

    def open(self) -> AbstractAsyncContextManager[UsernameSyntax]:
        raise NotImplementedError

    @clause
    async def test_1_letters_of_one_script_go_together(self) -> None:
        async with self.open() as syntax:
            for good in (
                "Ada",
                "ada 1",
                "\u0410\u043d\u043d\u0430 1",
                "\u5c71\u7530\u305f\u308d\u3046",
                "1",
                "._-",
                "",
                "\xc9va",
            ):
                assert syntax.is_of_one_script(good), good
            for mixed in ("\u0430dmin", "Ad\u03b1", "ada \u0430\u043d\u043d\u0430", "ada\u5c71"):
                assert not syntax.is_of_one_script(mixed), mixed

    @clause
    async def test_2_what_looks_alike_has_one_skeleton(self) -> None:
        async with self.open() as syntax:
            for alike in (
                ("paypal", "PayPal", "paypa1", "PAYPAI", "p\u0430ypal"),
                ("Oscar", "0scar", "OSCAR"),
                ("mary", "rnary"),
                ("\u0430\u0441\u0435", "ace"),
            ):
                assert len({syntax.skeleton(one) for one in alike}) == 1, alike
            different = ["ada", "eve", "anna", "ann", "bob", "u1", "u2", "\u0430\u043d\u043d\u0430"]
            assert len({syntax.skeleton(one) for one in different}) == len(different)
            for odd in ODD_STRINGS:
                assert bool(syntax.skeleton(odd)) is bool(odd)


class PasswordStrengthContract:
    """What every `PasswordStrength` keeps."""

    def open(self) -> AbstractAsyncContextManager[PasswordStrength]:
        raise NotImplementedError

    @clause
    async def test_1_common_passwords_are_weak_and_random_ones_strong(self) -> None:
        async with self.open() as strength:
            for weak in ("", "password", "12345678", "qwertyuiop", "aaaaaaaaaaaa", "Password1"):
                assert strength.score(weak, ()) < 3, weak
            for strong in ("vB7#qLz0!mKd9@Tx", "mauve otter drums quietly under 7 bridges"):
                assert strength.score(strong, ()) >= 3, strong

    @clause
    async def test_1_known_words_are_guessed_first(self) -> None:
        async with self.open() as strength:
            assert strength.score("vorqelbinat", ["vorqelbinat"]) < 3
            assert strength.score("vorqelbinat", ()) > strength.score("vorqelbinat", ["Vorqelbinat"])

    @clause
    async def test_1_any_password_is_soon_scored(self) -> None:
        async with self.open() as strength:
            for odd in ("a" * 1024, "qwerty123" * 110, "💡" * 256, "\x00" * 20, "\ud800" * 20, "Aa1!" * 256):
                began = time.monotonic()
                assert 0 <= strength.score(odd, ["", "ada@example.com", "\x00"]) <= 4
                assert time.monotonic() - began < 0.5


class RateLimiterContract:
    """What every `RateLimiter` keeps."""

    def open(self) -> AbstractAsyncContextManager[RateLimiter]:
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Overridden where the limiter has a clock of its own."""
        await asyncio.sleep(seconds)

    @clause
    async def test_5_what_is_taken_back_counts_no_longer(self) -> None:
        async with self.open() as limiter:
            rate = Rate(2, 60)
            for _ in range(5):
                assert (await limiter.hit("login", "ada", rate))[0]
                await limiter.refund("login", "ada", rate)
            await limiter.refund("login", "ada", rate)
            await limiter.refund("login", "nobody", rate)
            assert [(await limiter.hit("login", "ada", rate))[0] for _ in range(3)] == [True, True, False]
            assert [(await limiter.hit("login", "nobody", rate))[1].remaining for _ in range(2)] == [1, 0]

    @clause
    async def test_1_of_many_at_once_as_many_pass_as_may(self) -> None:
        async with self.open() as limiter:
            rate = Rate(5, 60)
            answers = await asyncio.gather(*(limiter.hit("login", "ada", rate) for _ in range(50)))
            assert [is_allowed for is_allowed, _ in answers].count(True) == 5
            assert all(0 <= quota.remaining < 5 for _, quota in answers)
            assert {quota.remaining for is_allowed, quota in answers if not is_allowed} == {0}
            for _, quota in answers:
                assert (quota.name, quota.rate) == ("login", rate)
                assert 0 < quota.reset <= 60

    @clause
    async def test_1_names_and_keys_never_meet(self) -> None:
        async with self.open() as limiter:
            pairs = [
                ("a", "b:c"),
                ("a:b", "c"),
                ("a", "b"),
                ("a", "B"),
                ("b", "a"),
                ("a", ""),
                ("a", "\x00"),
                ("a", "💡"),
            ]
            for name, key in [*pairs, ("a", "x" * 1000)]:
                assert (await limiter.hit(name, key, Rate(1, 60)))[0], (name, key)
                assert not (await limiter.hit(name, key, Rate(1, 60)))[0], (name, key)

    @clause
    async def test_1_the_window_moves_and_what_is_refused_does_not_count(self) -> None:
        async with self.open() as limiter:
            rate = Rate(2, 1)
            assert (await limiter.hit("login", "ada", rate))[0]
            await self.pass_time(0.6)
            assert (await limiter.hit("login", "ada", rate))[0]
            assert not (await limiter.hit("login", "ada", rate))[0]
            await self.pass_time(0.55)
            assert (await limiter.hit("login", "ada", rate))[0]
            is_allowed, quota = await limiter.hit("login", "ada", rate)
            assert not is_allowed
            assert quota.remaining == 0
            await self.pass_time(quota.reset + 0.05)
            assert (await limiter.hit("login", "ada", rate))[0]

    @clause
    async def test_2_of_many_leases_at_once_as_many_are_granted_as_may(self) -> None:
        async with self.open() as limiter:
            rate = Rate(50, 60)
            answers = await asyncio.gather(
                *(
                    limiter.lease("search", "ada", rate, prefetch=prefetch % 7, seconds=3, returned=None)
                    for prefetch in range(40)
                )
            )
            granted = [is_allowed + permits.count for is_allowed, _, permits in answers]
            assert sum(granted) == 50
            assert sorted(quota.remaining for _, quota, _ in answers)[0] == 0
            for prefetch, (is_allowed, quota, permits) in enumerate(answers):
                assert (quota.name, quota.rate) == ("search", rate)
                assert 0 < quota.reset <= 60
                assert 0 <= permits.count <= (prefetch % 7) * is_allowed
                assert permits.count == prefetch % 7 or quota.remaining == 0
            assert len({permits.id for _, _, permits in answers if permits.count}) == len([n for n in granted if n > 1])

    @clause
    async def test_2_permits_count_as_if_used_at_the_end_of_their_time(self) -> None:
        async with self.open() as limiter:
            rate = Rate(4, 2)

            async def lease(prefetch: int) -> tuple[int, int]:
                is_allowed, quota, permits = await limiter.lease(
                    "search", "ada", rate, prefetch=prefetch, seconds=1, returned=None
                )
                return is_allowed + permits.count, quota.remaining

            assert await lease(2) == (3, 1)
            await self.pass_time(2.2)  # the one for the call itself is forgotten, the others may be 1.2 s old
            assert await lease(9) == (2, 0)
            assert await lease(9) == (0, 0)
            await self.pass_time(1)
            assert await lease(0) == (1, 1)

    @clause
    async def test_2_who_waits_as_told_is_granted_one(self) -> None:
        async with self.open() as limiter:
            rate = Rate(3, 1)
            await limiter.lease("search", "ada", rate, prefetch=2, seconds=0.1, returned=None)
            is_allowed, quota, permits = await limiter.lease(
                "search", "ada", rate, prefetch=2, seconds=0.1, returned=None
            )
            assert (is_allowed, quota.remaining, permits.count) == (False, 0, 0)
            await self.pass_time(quota.reset + 0.02)
            assert (await limiter.lease("search", "ada", rate, prefetch=0, seconds=0.1, returned=None))[0]

    @clause
    async def test_3_permits_given_back_count_no_longer_and_the_others_as_of_now(self) -> None:
        async with self.open() as limiter:
            rate = Rate(10, 2)
            _, _, permits = await limiter.lease("search", "ada", rate, prefetch=9, seconds=1.9, returned=None)
            assert permits.count == 9
            returned = Permits(permits.id, 7)
            is_allowed, quota, second = await limiter.lease(
                "search", "ada", rate, prefetch=0, seconds=1, returned=returned
            )
            assert (is_allowed, quota.remaining, second.count) == (True, 6, 0)
            for again in (returned, Permits("never heard of", 3), Permits(second.id, 3)):
                _, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=again)
            assert quota.remaining == 3, "nothing comes back twice"
            await self.pass_time(2.1)
            _, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=None)
            assert quota.remaining == 9, "the two that were used no longer wait for the end of their time"

    @clause
    async def test_3_permits_can_be_given_back_after_their_time(self) -> None:
        async with self.open() as limiter:
            rate = Rate(5, 60)
            _, _, permits = await limiter.lease("search", "ada", rate, prefetch=4, seconds=0.1, returned=None)
            await self.pass_time(0.2)
            is_allowed, _, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=None)
            assert not is_allowed
            returned = Permits(permits.id, 3)
            is_allowed, quota, _ = await limiter.lease("search", "ada", rate, prefetch=0, seconds=1, returned=returned)
            assert is_allowed
            assert quota.remaining == 2

    @clause
    async def test_4_leases_and_hits_and_names_and_keys_never_meet(self) -> None:
        async with self.open() as limiter:
            rate = Rate(1, 60)
            for name, key in (("a", "b:c"), ("a:b", "c"), ("a", "b"), ("a", "B"), ("b", "a"), ("a", ""), ("a", "💡")):
                assert (await limiter.lease(name, key, rate, prefetch=0, seconds=1, returned=None))[0], (name, key)
                assert not (await limiter.lease(name, key, rate, prefetch=0, seconds=1, returned=None))[0], (name, key)
                assert (await limiter.hit(name, key, rate))[0], (name, key)
                assert (await limiter.lease(name, key, Rate(2, 60), prefetch=0, seconds=1, returned=None))[0], (
                    name,
                    key,
                )
