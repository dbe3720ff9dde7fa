"""The ports: what the rules need from the world outside, each with its contract in numbered clauses.

`movie_core.memory` has every port in memory, `movie_core.testing` one contract suite per port that follows the
clauses. To bring another source or store, write a class with these methods and run its suite against it.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from movie_core.accounts.outbox import Mail, MailKind, MailState, OutboxStats, OutgoingEmail
from movie_core.accounts.sessions import AccessClaims, Session
from movie_core.accounts.users import Address, Registration, User, Username, UserState
from movie_core.discovery.analytics import Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.discovery.events import Event
from movie_core.discovery.ratings import MovieIdentity, NewRating, Rating, RatingChange
from movie_core.discovery.recommendations import ModelInfo, Progress, RecommendationPage
from movie_core.discovery.trending import Epoch, Interaction, Totals, Trend, TrendWindow
from movie_core.operations.audit import AuditEntry
from movie_core.paging import Window
from movie_core.quotas import Permits, Quota, Rate
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.search.movies import Capability, FoundMovie, Genre, LoadResult, Movie, MoviePage, MovieQuery


class MovieSource(Protocol):
    """Where movies are searched.

    1. Every method raises `SourceUnavailable` or `StoreUnavailable` when it can't answer, never another error of a
       library; it never answers with half of the data.
    2. A method whose ability is missing from `capabilities` raises `FilterUnsupported`, and so does a search whose query
       needs a missing one.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """As `meta.source` shows it."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; never changes while it lives."""

    @abstractmethod
    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        """The part of the matches that the window shows.

        3. `total` counts all matches, whatever the window; 0 with no items when there are none.
        4. At most `window.limit` items, no id twice; a window past the end gives `total` and no items, and any other
           window at least one item.
        5. The order is total and does not change between calls while the movies don't, so that consecutive windows
           visit every match once.
        6. Every item fits the query's years and genre (genres are compared without regard to case).
        7. An item has an id and a title, both without control characters.
        """

    @abstractmethod
    async def get(self, movie_id: str) -> FoundMovie:
        """8. The movie of that id with all that is known of it; raises `MovieNotFound`, for any string."""

    @abstractmethod
    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        """9. At most `limit` movies for a text that is being typed, best first; none for an empty text."""

    @abstractmethod
    async def genres(self) -> Sequence[Genre]:
        """10. Every genre once, by name, with the number of movies that have it; none with 0."""


class MovieCatalogue(MovieSource, Protocol):
    """Movies kept by ourselves, under the name of the source that they come from; two names never mix.

    A catalogue has every ability but may answer `order` and filters in its own time. It leaves out of a search, and of
    its total, the movies of `MovieQuery.without`.
    """

    @abstractmethod
    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        """Add movies, or update those whose id is there.

        11. Repeating a load changes nothing; the last of several movies with one id counts.
        12. `replace` removes what `movies` lacks, and only once all of them were read: an iterable that raises leaves
            nothing removed.
        13. An `edition`, where given, is kept when all is loaded, and `edition()` tells it.
        14. Searches go on meanwhile and see each movie as it was before or after, never in between.
        """

    @abstractmethod
    async def count(self) -> int:
        """15. How many movies there are."""

    @abstractmethod
    async def edition(self) -> str | None:
        """16. The name of the edition loaded last; None before."""

    @abstractmethod
    async def get_many(self, movie_ids: Collection[str]) -> Mapping[str, Movie]:
        """17. Those of the movies that are there, by id; any strings may be asked for."""

    @abstractmethod
    async def most_popular(self, limit: int) -> Sequence[Movie]:
        """18. At most so many movies, the most popular first, those whose popularity isn't known last."""

    @abstractmethod
    async def match(self, wanted: Sequence[MovieIdentity]) -> Sequence[Movie | None]:
        """19. The movie that each is, in their order; None where none is, or more than one might be. The first of these
        that is told and known decides: our own id; the IMDb id; the TMDB id; the title without regard to case, accents
        and punctuation (`Matrix, The` is `The Matrix`), also the original or an alternative title, together with the
        year. Where no movie of the title has just that year, one that differs by one or isn't told on either side will
        do.
        """


class SeenMovies(Protocol):
    """The movies that searches have shown, so that they can be looked up later."""

    @property
    @abstractmethod
    def movies(self) -> MovieCatalogue:
        """Where they are kept."""

    @abstractmethod
    def remember(self, movies: Sequence[Movie]) -> None:
        """1. Returns at once and never raises: writing happens later, in batches; memory is bounded, and what doesn't
        fit is dropped and counted.
        """

    @abstractmethod
    async def flush(self) -> None:
        """2. Afterwards everything remembered before is in `movies`, unless the store is away."""


class CacheStore(Protocol):
    """Remembered answers, and the leases to fetch them, shared by the processes of a deployment.

    1. Every method raises `StoreUnavailable` when the store is away or frozen, within a tenth of a second, and once a
       write has failed because it is full or read-only; a caller that is cancelled leaves no answer behind for another
       call to take.
    2. Keys are 1 to 200 characters of ASCII without blanks.
    """

    @abstractmethod
    async def read(self, key: str) -> CacheEntry | None:
        """3. The newest entry of the key; None where there is none, where it is past its `stale_until`, and where it
        can't be read or is of another format.
        """

    @abstractmethod
    async def lease(self, key: str, seconds: float) -> Lease | None:
        """4. One has the lease of a key at a time: None while another has. It ends by itself after `seconds`, and its
        fence is greater than that of every earlier lease and entry of the key.
        """

    @abstractmethod
    async def renew(self, lease: Lease, seconds: float) -> bool:
        """5. The lease goes on for `seconds` from now; False where it has ended, and then nothing changes."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """6. The lease ends; one that has ended already, and that somebody else may have now, changes nothing."""

    @abstractmethod
    async def write(self, key: str, entry: CacheEntry) -> bool:
        """7. Keeps the entry until its `stale_until`; False, and nothing changes, where one with a greater fence is
        there, or where it is past its `stale_until`.
        """

    @abstractmethod
    async def clear(self) -> int:
        """8. Forgets all entries, not the leases, and tells how many there were. `generation` is another one then."""

    @abstractmethod
    async def generation(self) -> str | None:
        """9. Another one after each `clear`, so that copies kept elsewhere can be dropped too; None where there was
        none, or where that was lost with everything else.
        """

    @abstractmethod
    async def stats(self) -> CacheStats:
        """10. Entries, and the bytes of keys and values; those past their `stale_until` may still count."""


@dataclass(frozen=True, slots=True)
class ActivationLink:
    """What is known of an activation link that is good, or that has activated its account."""

    registration: Registration | None
    """The registration that the link activates; None if the link was used already."""
    is_only: bool
    """Whether all pending registrations of the address have the same mailbox, username and password hash; then the link
    works without a password."""


@dataclass(frozen=True, slots=True)
class ActivationResult:
    """What using an activation link came to."""

    user: User
    is_new: bool
    """False when the same link had activated it before."""


@dataclass(frozen=True, slots=True)
class RotationResult:
    """What a refresh token was exchanged for."""

    session: Session
    successor: int
    """Which of the successors offered is the session's refresh token now."""


@dataclass(frozen=True, slots=True)
class UserSummary:
    """An account, or a registration that waits for its activation."""

    id: str
    address: Address
    username: Username
    is_pending: bool
    is_active: bool
    is_staff: bool
    created_at: datetime
    last_login: datetime | None


class UserRepo(Protocol):
    """Accounts, and the registrations that may become some. A method is one transaction: it happens wholly or not.

    1. Addresses and usernames are each unique among accounts, by their keys, also when many ask at once; registrations
       reserve neither. Every method raises `StoreUnavailable` when the store is away, within seconds.
    2. Methods that end sessions answer with their ids.
    """

    @abstractmethod
    async def register(self, registration: Registration, now: datetime) -> None:
        """3. Keep the registration and its mail with one new link, together; nothing else changes for others of that
        address. Where an account has the address, its owner gets an `ADDRESS_TAKEN` mail instead and nothing else can
        be seen of the registration ever after; the same work is done.
        4. Raises `UsernameTaken` when an account has the username or one of the same skeleton, whatever the address.
        5. Nothing happens when a registration with the same mailbox, username and password hash is at most
           `users.REPEAT` old.
        6. A mail beyond the limit of its address waits (see `Outbox`); an address keeps `users.MAX_PENDING`: beyond,
           the oldest one of the network that has most of them gives way.
        """

    @abstractmethod
    async def request_mail(self, kind: MailKind, address_key: str, now: datetime, *, requested_from: str = "") -> None:
        """7. Keep that a mail of this kind is wanted for an address, due now; one of the kind that waits already, and
        that the same network has requested, is replaced. Whether anybody has that address isn't looked at: the outbox
        finds out, so the work is the same.
        """

    @abstractmethod
    async def find_activation_link(self, uid: str, hashed: str, now: datetime) -> ActivationLink:
        """8. What the link would do, or has done; raises `InvalidLink` unless it is good or was used. `hashed` is the
        token's hash. Changes nothing.
        """

    @abstractmethod
    async def activate(
        self, uid: str, hashed: str, now: datetime, *, password_hash: str | None = None
    ) -> ActivationResult:
        """9. Make the account of the link's registration, under the registration's id and with this password hash; all
        registrations of the address and their links end, except this link, which then returns `is_new` False. Without
        `password_hash` that of the registration is used if the link `is_only`; otherwise raises `PasswordRequired`.
        10. Raises `InvalidLink` for a link that is unknown, of another uid or purpose, expired or ended;
            `UsernameTaken` when an account got the username, or one of the same skeleton, meanwhile; and then nothing
            changes.
        """

    @abstractmethod
    async def find_reset_user(self, uid: str, hashed: str, now: datetime) -> User:
        """11. Whose password a link may reset; raises `InvalidLink`. Changes nothing."""

    @abstractmethod
    async def reset_password(self, uid: str, hashed: str, password_hash: str, now: datetime) -> Sequence[str]:
        """12. Set the password; all links that reset it and all sessions end, and a `PASSWORD_CHANGED` mail is kept.
        Raises `InvalidLink`."""

    @abstractmethod
    async def find(self, user_id: str) -> User | None:
        """13. By its id, active or not."""

    @abstractmethod
    async def find_by_address(self, address_key: str) -> User | None:
        """14. By its address, active or not."""

    @abstractmethod
    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, *, except_session_id: str, now: datetime
    ) -> Sequence[str] | None:
        """15. Replace the password, end all sessions but one, and all links that reset it, and keep a
        `PASSWORD_CHANGED` mail; None, and nothing changed, when the old hash isn't the present one.
        """

    @abstractmethod
    async def change_profile(
        self, user_id: str, *, username: Username | None = None, record_events: bool | None = None
    ) -> User:
        """16. Change what is given; raises `UsernameTaken` under the conditions of clause 4, and `UserNotFound`."""

    @abstractmethod
    async def set_active(self, address_key: str, is_active: bool, now: datetime) -> Sequence[str]:
        """17. True activates: a pending address by its newest registration, as its link would. False ends all sessions
        too. Raises `UserNotFound`, `UsernameTaken`; False for a pending address is `UserNotFound`.
        """

    @abstractmethod
    async def set_staff(self, address_key: str, is_staff: bool) -> None:
        """18. Raises `UserNotFound`, also for a pending address."""

    @abstractmethod
    async def list_users(
        self, window: Window, address_key: str | None = None, *, search: str = "", state: UserState | None = None
    ) -> tuple[int, Sequence[UserSummary]]:
        """19. How many accounts and pending registrations there are, and those in the window: newest first, then by id.
        Only those of one address, where given, and of one state. `search` is a part of the address or username, without
        regard to case, no character of it special.
        """

    @abstractmethod
    async def export(self, address_key: str) -> dict[str, Any]:
        """20. Everything stored about an address, as JSON can hold it, but hashes and seals: `user` (None without
        one), `registrations`, `sessions`, `mails`.
        """

    @abstractmethod
    async def erase(self, address_key: str, now: datetime) -> Sequence[str]:
        """21. Remove everything about an address: account, registrations, links, sessions, mails in any state. Of an
        account one `ACCOUNT_ERASED` mail is kept, until it is sent.
        """

    @abstractmethod
    async def purge(self, now: datetime) -> int:
        """22. Remove what has outlived its use; the number of things removed: sessions whose refresh token has expired
        and used refresh tokens that have; marks of ended sessions after a day; registrations and links 7 days after the
        link's end, as long as no mail of theirs is pending; sent mails after 30 days.
        """

    @abstractmethod
    async def find_summary(self, person_id: str) -> UserSummary | None:
        """23. An account or pending registration by its id; any string may be asked for."""


class SessionStore(Protocol):
    """Sessions and their refresh tokens, by hash. Each raises `StoreUnavailable` when the store is away."""

    @abstractmethod
    async def start(
        self,
        session: Session,
        refresh_hash: str,
        expires_at: datetime,
        *,
        password_hash: str,
        rehashed: str | None = None,
        network: str = "",
    ) -> Sequence[str]:
        """1. Keep a new session, the login in its account's `last_login`, and the network that it comes from, where
        that is given. Returns the ids of sessions that were removed: an account has at most `sessions.MAX_SESSIONS`
        sessions and `sessions.MAX_NETWORKS` networks; those used longest ago are removed.
        2. `rehashed` is a new hash of the same password: it takes the place of the old one.
        3. Raises `InvalidCredentials`, and nothing changes, when the account is inactive or gone by now, or its
           stored hash is no longer `password_hash`, which was verified: a login in progress starts no session after
           a change of the password.
        """

    @abstractmethod
    async def rotate(
        self,
        refresh_hash: str,
        successors: Sequence[str],
        now: datetime,
        expires_at: datetime,
        *,
        lifetime: timedelta | None = None,
    ) -> RotationResult | None:
        """4. Exchange an unused, unexpired token for the first of `successors` (hashes), which expires at `expires_at`:
        just one of any number of callers at once does, the others find it used. No token of a session is good longer
        than `lifetime` after its login.
        5. A used token is judged by `sessions.classify_reuse`: a repeat gets the successor that it got before, which is
           one of `successors`; a theft ends the session.
        6. None for an unknown or expired token, an ended session and a theft.
        """

    @abstractmethod
    async def list_page(self, user_id: str) -> Sequence[Session]:
        """7. The sessions of an account, the one used last first."""

    @abstractmethod
    async def end(
        self,
        user_id: str,
        now: datetime,
        *,
        session_id: str | None = None,
        except_session_id: str | None = None,
        notify: bool = False,
    ) -> Sequence[str]:
        """8. End one session, all but one, or all; the ids of those that were there. Their tokens are good no more.
        With `notify` a `SESSIONS_ENDED` mail is kept where any have ended.
        """

    @abstractmethod
    async def is_live(self, session_id: str) -> bool:
        """9. False for one that has ended or never was; any string may be asked for."""

    @abstractmethod
    async def ended_since(self, at: datetime) -> Sequence[str]:
        """10. Every session that ended at or after that time, whatever ended it; kept for a day."""

    @abstractmethod
    async def find(self, session_id: str) -> Session | None:
        """11. None for one that has ended or never was; any string may be asked for."""

    @abstractmethod
    async def find_owner(self, refresh_hash: str) -> str | None:
        """12. The id of the account whose session a refresh token is of, used or not; None for an unknown one."""

    @abstractmethod
    async def networks(self, address_key: str) -> Sequence[str]:
        """13. From which networks the account of an address has logged in, the last one first; the same work whether
        there is an account or not.
        """


class Outbox(Protocol):
    """Mails until they are sent. Each raises `StoreUnavailable` when the store is away.

    1. An address gets at most the limit of `MailRules` in any window of what one network requests, of all kinds
       together, counted when mails are made; and at most `mails.TOTAL` times that of what all networks request. The
       total does not apply to a network from which the account has logged in. `mails.NOTICES` neither count nor wait.
       A mail that must wait has no links yet, and the links before it stay good. Of each kind and network at most one
       waits for an address; none is dropped but for a newer one of both.
    2. Made late, an `ACTIVATION` mail has links for the `mails.RENEWED` newest pending registrations of that address
       and network that have none yet. An `ACTIVATION_RENEWAL` mail has new links for so many pending registrations of
       the address, those of its network first, then the newest; their earlier links end. Registrations of another
       mailbox get a mail of their own. A `PASSWORD_RESET` mail leaves earlier reset links as they are. A mail
       without a recipient (no pending registration, no active account) is removed; any number of these delays no other.
    """

    @abstractmethod
    async def claim(self, owner: str, now: datetime, limit: int, lease: timedelta) -> Sequence[Mail]:
        """3. Make what is due and not made; then lease out mails that are due, those of `mails.FOR_ACCOUNTS` before
        others, the oldest first. No mail is leased to two until a lease runs out. The links of leased mails are good
        from now on for the rules' `link_ttl`.
        """

    @abstractmethod
    async def complete(self, owner: str, mail: Mail) -> bool:
        """4. Keep state, attempts, last error, due and sent time of a mail, and end the lease; False, and nothing
        changed, for who lost the lease. The seals of a mail that is sent are removed, and the whole of an
        `ACCOUNT_ERASED` mail that is sent or dead.
        """

    @abstractmethod
    async def release(self, owner: str, mail_ids: Sequence[str], now: datetime) -> None:
        """5. End leases that the owner still has, as if the mails had not been claimed."""

    @abstractmethod
    async def list_page(self, window: Window, state: MailState | None = None) -> tuple[int, Sequence[Mail]]:
        """6. How many there are, and those in the window: newest first, then by id, without links."""

    @abstractmethod
    async def retry(self, mail_ids: Sequence[str] | None, now: datetime) -> Sequence[str]:
        """7. Make dead mails pending and due again with no attempts counted, and their links good again; None: all that
        are dead. The ids of those that were.
        """

    @abstractmethod
    async def stats(self, now: datetime) -> OutboxStats:
        """8. How many mails there are, by state, at most `mails.MAX_TALLY` of each. A pending mail waits since it was
        made; one that isn't made yet since it is due, so a limit doesn't count as waiting.
        """

    @abstractmethod
    async def find(self, mail_id: str) -> Mail | None:
        """9. One mail without its links; any string may be asked for."""


class Mailer(Protocol):
    """Hands letters to whoever delivers them."""

    @abstractmethod
    async def send(self, email: OutgoingEmail) -> None:
        """1. Returns once the server has accepted the message. Raises `outbox.MailRejected` when it rejects this
        message (for now or for ever) and `outbox.MailUnavailable` when it would accept none, within
        `outbox.SEND_SECONDS`. Sending again sends the same message: same Message-ID, same text. No text of a
        message can add a header or a recipient.
        """

    @abstractmethod
    async def erase(self, address: Address) -> None:
        """2. Remove letters to this address that are kept here, if any are."""


class DeliveryNotifier(Protocol):
    """Tells whoever delivers mail that something is due. A hint only: what is due goes out without it, a bit later."""

    @abstractmethod
    async def notify(self) -> None:
        """1. Returns within 0.1 s and never raises."""


class PasswordHasher(Protocol):
    """Slow hashes of passwords. Hashing never runs on the event loop, and no more at once than is good."""

    @abstractmethod
    async def hash(self, password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        """1. With a salt of 16 bytes the same for the same password, else new each time. Raises `Busy`."""

    @abstractmethod
    async def verify(self, password: str, hashed: str | None, *, queue: str = "") -> bool:
        """2. Whether the hash is of this password; None or a broken hash: False after the same work. Raises `Busy`."""

    @abstractmethod
    def is_outdated(self, hashed: str) -> bool:
        """3. Whether it was made with lower parameters than `hash` has.
        4. Queues take turns: however many passwords of one account wait, one of another is soon checked.
        """


class AccessTokens(Protocol):
    """Signed tokens that carry what `AccessClaims` says."""

    @abstractmethod
    def issue(self, access: AccessClaims) -> str:
        """1. A token that `read` reads."""

    @abstractmethod
    def read(self, token: str) -> AccessClaims:
        """2. What a token says that we signed and that hasn't expired; raises `InvalidToken` for any other string."""


class AddressSyntax(Protocol):
    """What a mailbox may look like."""

    @abstractmethod
    def split(self, text: str) -> tuple[str, str]:
        """1. Local part, and domain in ASCII (IDNA) and lower case; raises `InvalidEmail`. Looks nothing up."""


class UsernameSyntax(Protocol):
    """What Unicode's security rules (UTS 39) say of usernames."""

    @abstractmethod
    def is_of_one_script(self, text: str) -> bool:
        """1. Whether all letters are of one script, or of those that Japanese, Korean or Chinese mix; digits and signs
        are of every script.
        """

    @abstractmethod
    def skeleton(self, text: str) -> str:
        """2. The same for texts that look alike, or that differ in case only; never empty for a text that isn't."""


class PasswordStrength(Protocol):
    """How hard a password is to guess."""

    @abstractmethod
    def score(self, password: str, known: Sequence[str]) -> int:
        """1. 0 (at once) to 4 (never), in a few milliseconds for any password; `known` are words that an attacker would
        try first.
        """


class RateLimiter(Protocol):
    """Counts in moving windows."""

    @abstractmethod
    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        """1. Count one, if that stays within the rate in any window, and say whether it did; what is refused doesn't
        count. Exact however many ask at once. Keys of different names never meet. Never raises: a store that is away
        is made up for.
        """

    @abstractmethod
    async def refund(self, name: str, key: str, rate: Rate) -> None:
        """5. The newest hit of the key counts no longer; nothing where there is none. Never raises."""

    @abstractmethod
    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        """2. As `hit`; and where one is allowed, as many more as remain, up to `prefetch`, are taken for the caller, who
        may use them within `seconds` after making the call. They count as if used at the end of that time, so that no
        window ever holds more than the rate; the quota's `remaining` is what is left beside them.
        3. `returned` are permits that an earlier call took, with the number that is left of them and won't be used. That
        many count no longer, and the others as if used now at the latest. Ones that aren't known count as they did.
        4. A key's memory is bounded: what was used within the same sixtieth of the window is forgotten together, with
        the last of it. Leases and hits never count together, also not under the same name and key.
        """


class PersonalData(Protocol):
    """Something kept about users beyond their accounts."""

    @abstractmethod
    async def export(self, user_id: str) -> Mapping[str, Any]:
        """1. All of it as JSON can hold it, under names of its own; nothing for who isn't known."""

    @abstractmethod
    async def erase(self, user_id: str) -> None:
        """2. None of it is there afterwards. Raises `StoreUnavailable` where that can't be promised."""


class AuditLog(PersonalData, Protocol):
    """What staff did. Each raises `StoreUnavailable` when the store is away.

    Erasing takes the user's id out of entries and leaves these, and so does the end of the account, whatever ends it.
    """

    @abstractmethod
    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """3. Keep them all or, raising, none; an account that is gone by now isn't named."""

    @abstractmethod
    async def list_page(self, window: Window) -> tuple[int, Sequence[AuditEntry]]:
        """4. How many there are, and those in the window: newest first, then by id."""

    @abstractmethod
    async def purge(self, before: datetime) -> int:
        """5. Remove those from before that time; how many."""


class RatingStore(PersonalData, Protocol):
    """The ratings of users, for the movies of one source. Each raises `StoreUnavailable` when the store is away."""

    @abstractmethod
    async def put(self, user_id: str, ratings: Sequence[NewRating], now: datetime) -> Sequence[RatingChange]:
        """3. Keep them all or, raising, none, in the order given; a user has one rating of a movie, the last one
        counts, also when many write at once. Ratings of movies given twice are both answered.
        4. Where the rating has no `rated_at` and the user has given the same to the movie, nothing changes.
        5. Raises `TooManyRatings` where the user would have more than `ratings.MAX_RATINGS`, and `UserNotFound`.
        """

    @abstractmethod
    async def remove(self, user_id: str, movie_id: str) -> bool:
        """6. False where there was none."""

    @abstractmethod
    async def get(self, user_id: str, movie_id: str) -> Rating | None:
        """7. What the user gave the movie."""

    @abstractmethod
    async def list_page(self, user_id: str, window: Window) -> tuple[int, Sequence[Rating]]:
        """8. How many there are, and those in the window: newest first, then by id of the movie."""

    @abstractmethod
    async def history(self, user_id: str) -> Sequence[Rating]:
        """9. All of them, oldest first, then by id of the movie."""

    @abstractmethod
    def iter_all(self) -> AsyncIterator[Sequence[tuple[str, Rating]]]:
        """10. Every rating of active users with the user's id, once, in batches of bounded size and in no order; one
        that changes meanwhile may be as it was or as it is."""

    @abstractmethod
    async def version(self) -> str:
        """11. Another one after every change of any rating, also after a removal."""


class EventStore(PersonalData, Protocol):
    """What users did, and what of it counts for trends. Each raises `StoreUnavailable` when the store is away."""

    @abstractmethod
    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        """3. Keep the events, all or none, but those of users who are gone or inactive or have switched recording off.
        4. Answers with what counts of them (views, clicks, ratings): the first of its user, movie, kind and UTC day, in
           the order in which they come here, just once however many append at once. What nobody known did never counts.
           `kept_at` of each is `now`.
        """

    @abstractmethod
    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        """5. Add to the figures of `analytics.SourceDay` by their names; others than its fields aren't given."""

    @abstractmethod
    def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        """6. Everything that counted and is still kept, once, as `append` told it, in batches of bounded size and in no
        order."""

    @abstractmethod
    async def purge(self, before: date) -> int:
        """7. Remove the events and deeds of the days before; how many events. What comes for these days later isn't
        kept. What `Analytics` tells of them stays as it was, but for `QueryCount.users`, for `analytics.KEPT` more.
        """


class Analytics(Protocol):
    """What the events come to. Each raises `StoreUnavailable` when the store is away.

    An event of `times` n counts as n. What was erased or never kept counts nowhere; only the queries of days that were
    purged before still count, which name nobody then.
    """

    @abstractmethod
    async def summary(self, days: Days) -> Summary:
        """1. Of everybody's events in these days."""

    @abstractmethod
    async def top_searches(self, days: Days, *, zero_results: bool = False) -> Sequence[QueryCount]:
        """2. At most `analytics.MAX_QUERIES` queries by falling count, then by query; only searches that found nothing
        where `zero_results`. The empty query, which asks for all movies, isn't one of them.
        """

    @abstractmethod
    async def clicks(self, days: Days) -> Clicks:
        """3. A search in these days may be followed by a click after them."""

    @abstractmethod
    async def funnel(self, days: Days) -> Funnel:
        """4. As `Funnel` says; all three steps in these days."""

    @abstractmethod
    async def retention(self, days: Days) -> Sequence[Cohort]:
        """5. Of users whose accounts began in these days and are still there, one row for each ISO week with any."""

    @abstractmethod
    async def source(self, days: Days) -> Sequence[SourceDay]:
        """6. The days with any figures, in order."""


class TrendStore(Protocol):
    """Strengths of movies (S of `movie_core.discovery.trending`), and counts of deeds, for each window. May
    forget everything.

    Each raises `StoreUnavailable` when the store is away, and then may have done what it was asked for, or a part, or
    nothing.
    """

    @abstractmethod
    async def epoch(self) -> Epoch | None:
        """1. What `start_epoch` has begun, and what became of it; None before, and after something was lost: but a store may
        go back to an earlier state.
        """

    @abstractmethod
    async def start_epoch(self, since: datetime, instead_of: datetime | None) -> bool:
        """2. Forget everything and begin a life; False, and nothing changes, unless the present one is `instead_of`."""

    @abstractmethod
    async def claim_rebuild(self, since: datetime) -> bool:
        """3. True for just one caller, who may fill the life; False where the present one isn't of that time."""

    @abstractmethod
    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        """4. Have these beside what `add` adds; filled then. False, and nothing is added from then on, where the life
        is filled already, isn't claimed, or isn't of that time.
        """

    @abstractmethod
    async def add(self, interactions: Sequence[Interaction]) -> None:
        """5. Add those that were kept in this life, each once, in any order, also when many add at once, without losing
        precision beyond 1e-9 of a score. Nothing without a life.
        """

    @abstractmethod
    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        """6. By falling score, then by id; None from a store that isn't filled. Counts are of the window's `buckets`,
        the present one and those before it. About `trending.KEPT_MOVIES` are kept, the strongest.
        """


class PersonalOrderStore(PersonalData, Protocol):
    """Personal orders of search results, kept for a while so that pages fit together.

    Each raises `StoreUnavailable` when the store is away.
    """

    @abstractmethod
    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        """3. The ids kept under this key for `affinities.ORDER_SECONDS` since `save`; None where none are."""

    @abstractmethod
    async def save(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        """4. Keep them, unless some are kept already, also when many do so at once; what is kept. A user has at most
        `affinities.MAX_ORDERS`, the oldest give way.
        """


class Recommender(Protocol):
    """Learns from everybody's ratings, and answers by what one user has rated up to this very moment.

    Each raises `StoreUnavailable` when a store that it needs is away.
    """

    @abstractmethod
    async def train(self, progress: Progress = lambda _step, _part: None) -> ModelInfo:
        """1. Make a model of all ratings there are, and of the best known movies; every process answers by it within a
        minute.
        """

    @abstractmethod
    async def model(self) -> ModelInfo | None:
        """2. What the present model was made of; None before the first."""

    @abstractmethod
    async def is_outdated(self) -> bool:
        """3. Whether ratings or movies have changed since the present model was made; True without one."""

    @abstractmethod
    async def recommend(self, history: Sequence[Rating], window: Window, now: datetime) -> RecommendationPage:
        """4. Best first, no movie twice, never a movie of the history. An order that is total and the same for the same
        model, history and minute, whatever the window.
        5. Each rating of the history counts at once: no training in between. With an empty history, and before the
           first model, what is popular; `tier` says which.
        6. A reason is a movie of the history without whose rating the score would be lower.
        """

    @abstractmethod
    async def affinities(
        self, history: Sequence[Rating], movie_ids: Collection[str], now: datetime
    ) -> Mapping[str, float]:
        """7. How much each of the movies is to the taste that the history shows, those that the model doesn't know left
        out; greater is more, on a scale of its own whose 0 is neither."""

    @abstractmethod
    async def similar(self, movie: Movie, window: Window) -> RecommendationPage:
        """8. Movies like this one, best first, never itself; none before the first model."""


class ModelStore(Protocol):
    """Trained models. Each raises `StoreUnavailable` when the store is away."""

    @abstractmethod
    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        """1. The present model from now on; `version` is what it was made from, in the recommender's own words.

        False, and nothing is kept, where the present model was made later: of two trainings at once the one that read
        older ratings may end last.
        """

    @abstractmethod
    async def present(self) -> tuple[ModelInfo, str] | None:
        """2. What the present model was made of, and its version; None before the first."""

    @abstractmethod
    async def body(self, made_at: datetime) -> bytes | None:
        """3. The model made at that time; None where another is present by now."""
