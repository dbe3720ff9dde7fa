"""Movie search rules and ports; needs nothing but the standard library.

Searching a list of movies:

>>> import asyncio
>>> from movie_core import MovieSearch, MemoryMovieCatalogue, Movie, MovieQuery, Window
>>> movies = [
...     Movie(id="603", title="The Matrix", year=1999, genres=("Action", "Science Fiction")),
...     Movie(id="604", title="The Matrix Reloaded", year=2003, genres=("Action",)),
...     Movie(id="129", title="Spirited Away", year=2001, genres=("Animation",)),
... ]
>>> catalogue = MemoryMovieCatalogue(movies)
>>> movie_search = MovieSearch(catalogue)
>>> page = asyncio.run(movie_search.search(MovieQuery("the matrix"), Window(offset=0, limit=10)))
>>> page.total, [movie.title for movie in page.items]
(2, ['The Matrix', 'The Matrix Reloaded'])

Registering and activating a user, with every port in memory (a real deployment brings its own adapters):

>>> from datetime import timedelta
>>> from movie_core import AccountRules, Accounts, Keyring, OutboxDispatcher, MailRules, SessionRegistry
>>> from movie_core import memory
>>> keys = Keyring(["a secret of at least thirty-two bytes"])
>>> database = memory.MemoryDatabase(MailRules(link_ttl=timedelta(hours=24), limit=None), keys)
>>> users, sessions, outbox = memory.MemoryUserRepo(database), memory.MemorySessionStore(database), memory.MemoryOutbox(database)
>>> mailer = memory.MemoryMailer()
>>> accounts = Accounts(
...     users, sessions, SessionRegistry(sessions), memory.MemoryPasswordHasher(), memory.MemoryAccessTokens(keys),
...     memory.PlainAddressSyntax(), memory.PlainUsernameSyntax(), memory.PlainPasswordStrength(), mailer,
...     memory.MemoryDeliveryNotifier(), keys,
...     AccountRules(password_min=8, access_ttl=timedelta(minutes=15), refresh_ttl=timedelta(days=5)),
... )
>>> async def join(name: str) -> str:
...     await accounts.register(f"{name}@example.com", name, "copper lantern walks home")
...     dispatcher = OutboxDispatcher(outbox, mailer, keys, public_url="https://movies.example.com", owner="doctest")
...     await dispatcher.deliver_due()
...     [link] = mailer.emails[-1].links
...     uid, token = link.rstrip("/").split("/")[-2:]
...     tokens = await accounts.activate(uid, token, device="a terminal")
...     return (await accounts.profile(await accounts.authenticate(tokens.access))).username.shown
>>> asyncio.run(join("ann"))
'ann'

Rating and recommending movies, by what others like who like the same:

>>> from movie_core import Discovery, EventRecorder, TrendingService
>>> ratings, events = memory.MemoryRatingStore(database), memory.MemoryEventStore(database)
>>> recommender = memory.MemoryRecommender(ratings, catalogue)
>>> trends = TrendingService(memory.MemoryTrendStore(), events)
>>> discovery = Discovery(
...     movie_search, catalogue, ratings, recommender, memory.MemoryPersonalOrderStore(), trends, EventRecorder(events, trends)
... )
>>> async def recommend() -> list[tuple[str, list[str]]]:
...     await join("bob")
...     ann, bob = [(await users.find_by_address(f"{name}@example.com")).id for name in ("ann", "bob")]
...     for user_id, movie_id in ((bob, "603"), (bob, "604"), (ann, "603")):
...         await discovery.rate(user_id, movie_id, 9.5)
...     await recommender.train()
...     page = await discovery.recommendations(ann, Window())
...     return [(one.movie.title, [reason.title for reason in one.reasons]) for one in page.items]
>>> asyncio.run(recommend())
[('The Matrix Reloaded', ['The Matrix']), ('Spirited Away', [])]

Errors belong to families, and each has a code that stays stable:

>>> from movie_core import MovieNotFound
>>> try:
...     asyncio.run(movie_search.search(MovieQuery("casablanca"), Window()))
... except MovieNotFound as error:
...     print(error.code)
movie_not_found

To search another source, write a class with the methods of `movie_core.ports.MovieSource`, and prove it with
`movie_core.testing.MovieSourceContract`.
"""

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import Mail, MailKind, MailRules, MailState, OutboxStats, OutgoingEmail
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.services import AccountRules, Accounts, Caller, TokenPair
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import Session
from movie_core.accounts.users import Address, Registration, User, Username, UserState
from movie_core.discovery.analytics import Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.rating_files import parse_ratings
from movie_core.discovery.ratings import (
    ImportResult,
    ImportRow,
    MovieIdentity,
    NewRating,
    RatedMovie,
    RatedMovies,
    Rating,
    Rejection,
)
from movie_core.discovery.recommendations import (
    ModelInfo,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendationPage,
    SuggestedMovie,
    Tier,
)
from movie_core.discovery.services import Discovery, SuggestedMovies, TrendingMovies
from movie_core.discovery.trending import Interaction, InteractionKind, Trend, Trending, TrendWindow
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import (
    Busy,
    Conflict,
    Denied,
    FilterUnsupported,
    Invalid,
    InvalidBody,
    InvalidCredentials,
    InvalidEmail,
    InvalidEvent,
    InvalidLink,
    InvalidOffsetOrLimit,
    InvalidParameter,
    InvalidPassword,
    InvalidQuery,
    InvalidRating,
    InvalidToken,
    InvalidUsername,
    MailNotDead,
    MailNotFound,
    MovieError,
    MovieNotFound,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OwnAccount,
    PageOutOfRange,
    RateLimited,
    RatingNotFound,
    SessionNotFound,
    SeveralUsers,
    SourceUnavailable,
    StoreUnavailable,
    TooManyRatings,
    TooManyRows,
    Unavailable,
    UsernameTaken,
    UserNotFound,
    WeakPassword,
)
from movie_core.memory import MemoryMovieCatalogue, MemorySeenMovies
from movie_core.operations.administration import Administration
from movie_core.operations.audit import Action, AuditEntry
from movie_core.operations.maintenance import Maintenance
from movie_core.operations.rate_limits import RateLimits
from movie_core.paging import PageInfo, PageLinks, Window
from movie_core.provenance import CacheStatus
from movie_core.quotas import Permits, Quota, Rate
from movie_core.search.caching import CacheEntry, CachePolicy, CacheStats, Lease
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import (
    Capability,
    FoundMovie,
    Genre,
    LoadResult,
    Movie,
    MoviePage,
    MovieQuery,
    Order,
    Years,
)
from movie_core.text import normalise_query

__all__ = [
    "AccountRules",
    "Accounts",
    "Action",
    "Address",
    "Administration",
    "AuditEntry",
    "Busy",
    "CacheEntry",
    "CachePolicy",
    "CacheStats",
    "CacheStatus",
    "Caller",
    "Capability",
    "Clicks",
    "Cohort",
    "Conflict",
    "Days",
    "Denied",
    "Discovery",
    "Event",
    "EventKind",
    "EventRecorder",
    "FilterUnsupported",
    "FoundMovie",
    "Funnel",
    "Genre",
    "ImportResult",
    "ImportRow",
    "Interaction",
    "InteractionKind",
    "Invalid",
    "InvalidBody",
    "InvalidCredentials",
    "InvalidEmail",
    "InvalidEvent",
    "InvalidLink",
    "InvalidOffsetOrLimit",
    "InvalidParameter",
    "InvalidPassword",
    "InvalidQuery",
    "InvalidRating",
    "InvalidToken",
    "InvalidUsername",
    "Keyring",
    "Lease",
    "LoadResult",
    "Mail",
    "MailKind",
    "MailNotDead",
    "MailNotFound",
    "MailRules",
    "MailState",
    "Maintenance",
    "MemoryMovieCatalogue",
    "MemorySeenMovies",
    "ModelInfo",
    "Movie",
    "MovieError",
    "MovieIdentity",
    "MovieNotFound",
    "MoviePage",
    "MovieQuery",
    "MovieSearch",
    "NewRating",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Order",
    "OutboxDispatcher",
    "OutboxStats",
    "OutgoingEmail",
    "OwnAccount",
    "PageInfo",
    "PageLinks",
    "PageOutOfRange",
    "Permits",
    "QueryCount",
    "Quota",
    "Rate",
    "RateLimited",
    "RateLimits",
    "RatedMovie",
    "RatedMovies",
    "Rating",
    "RatingNotFound",
    "Reason",
    "ReasonKind",
    "Recommendation",
    "RecommendationPage",
    "Registration",
    "Rejection",
    "Session",
    "SessionNotFound",
    "SessionRegistry",
    "SeveralUsers",
    "SourceDay",
    "SourceUnavailable",
    "StoreUnavailable",
    "SuggestedMovie",
    "SuggestedMovies",
    "Summary",
    "Tier",
    "TokenPair",
    "TooManyRatings",
    "TooManyRows",
    "Trend",
    "TrendWindow",
    "Trending",
    "TrendingMovies",
    "TrendingService",
    "Unavailable",
    "User",
    "UserNotFound",
    "UserState",
    "Username",
    "UsernameTaken",
    "WeakPassword",
    "Window",
    "Years",
    "normalise_query",
    "parse_ratings",
]
