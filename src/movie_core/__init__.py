"""Movie search, user accounts and recommendations as a library. Imports only the standard library.

This module exports the names that most programs need. Everything else is imported from its area: `movie_core.search`,
`movie_core.accounts`, `movie_core.discovery`, `movie_core.operations`, `movie_core.errors`, `movie_core.ports`.

Search. `MovieSearch` works with any `MovieSource`; `MemoryMovieCatalogue` is one that holds its movies in memory. A
`Window` selects a page by offset and limit, and `total` counts all matches:

>>> import asyncio
>>> from movie_core import MemoryMovieCatalogue, Movie, MovieQuery, MovieSearch, Window
>>> movies = [
...     Movie(id="603", title="The Matrix", year=1999, genres=("Action", "Science Fiction")),
...     Movie(id="604", title="The Matrix Reloaded", year=2003, genres=("Action",)),
...     Movie(id="129", title="Spirited Away", year=2001, genres=("Animation",)),
... ]
>>> movie_search = MovieSearch(MemoryMovieCatalogue(movies))
>>> page = asyncio.run(movie_search.search(MovieQuery("the matrix"), Window(offset=0, limit=10)))
>>> page.total, [movie.title for movie in page.items]
(2, ['The Matrix', 'The Matrix Reloaded'])

Errors. Every error is a `MovieError` of one family (`Invalid`, `Denied`, `NotFound`, `Conflict`, `Unavailable`) and has
a stable `code`:

>>> from movie_core import NotFound
>>> try:
...     asyncio.run(movie_search.search(MovieQuery("casablanca"), Window()))
... except NotFound as error:
...     print(error.code)
movie_not_found

Accounts. `Registration`, `Login`, `Passwords`, `Profiles`, `Sessions` and `SessionTokens` need a database, a mailer and
password hashing. `memory.deployment` builds all services over ports in memory; a deployment with a database uses the
adapters of `movie_adapters`:

>>> from movie_core import memory
>>> deployment = memory.deployment(movies)

Registration stores a pending registration and an activation email in the outbox. `OutboxDispatcher` sends it, and the
link in it activates the user and logs in. `authenticate` verifies the access token of a request:

>>> async def sign_up(name: str) -> str:
...     await deployment.registration.register(f"{name}@example.com", name, "copper lantern walks home")
...     await deployment.dispatcher.deliver_due()
...     [link] = deployment.mailer.emails[-1].links  # https://movies.example.com/api/v1/…/{uid}/{token}/
...     uid, token = link.rstrip("/").split("/")[-2:]
...     tokens = await deployment.registration.activate(uid, token, device="a terminal")
...     caller = await deployment.session_tokens.authenticate(tokens.access)
...     return caller.user_id
>>> ann, bob = asyncio.run(sign_up("ann")), asyncio.run(sign_up("bob"))
>>> asyncio.run(deployment.user_repo.find(ann)).username.shown
'ann'

Recommendations. `Discovery` stores ratings and recommends movies liked by users with similar ratings. A reason is a
movie of the user's own ratings that led to the recommendation:

>>> async def recommend() -> list[tuple[str, list[str]]]:
...     for user_id, movie_id in ((bob, "603"), (bob, "604"), (ann, "603")):
...         await deployment.discovery.rate(user_id, movie_id, 9.5)
...     await deployment.recommender.train()
...     page = await deployment.discovery.recommendations(ann, Window())
...     return [(item.movie.title, [reason.title for reason in item.reasons]) for item in page.items]
>>> asyncio.run(recommend())
[('The Matrix Reloaded', ['The Matrix']), ('Spirited Away', [])]

To search another source, implement the methods of `MovieSource` and test the class with
`movie_core.testing.MovieSourceContract`.
"""

from movie_core.accounts.login import Login
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.sessions import Caller, TokenPair
from movie_core.accounts.users import User
from movie_core.discovery.services import Discovery
from movie_core.errors import (
    Conflict,
    Denied,
    FilterUnsupported,
    Invalid,
    MovieError,
    MovieNotFound,
    NotFound,
    SourceUnavailable,
    StoreUnavailable,
    Unavailable,
)
from movie_core.memory import MemoryMovieCatalogue
from movie_core.paging import Window
from movie_core.ports import Mailer, MovieSource, UserRepo
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, Order, Years

__all__ = [
    "Caller",
    "Capability",
    "Conflict",
    "Denied",
    "Discovery",
    "FilterUnsupported",
    "FoundMovie",
    "Genre",
    "Invalid",
    "Login",
    "Mailer",
    "MemoryMovieCatalogue",
    "Movie",
    "MovieError",
    "MovieNotFound",
    "MoviePage",
    "MovieQuery",
    "MovieSearch",
    "MovieSource",
    "NotFound",
    "Order",
    "OutboxDispatcher",
    "Passwords",
    "Profiles",
    "Registration",
    "SessionTokens",
    "Sessions",
    "SourceUnavailable",
    "StoreUnavailable",
    "TokenPair",
    "Unavailable",
    "User",
    "UserRepo",
    "Window",
    "Years",
]
