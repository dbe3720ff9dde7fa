"""The journey of the README with the client that openapi-python-client generates.

`python python_journey.py http://127.0.0.1:8000 ann` registers `ann` and asks for the link in the email.
"""

import sys
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from movie_search_client import AuthenticatedClient, Client
from movie_search_client.api.accounts import activate, log_in, log_out, register
from movie_search_client.api.movies import search_movies
from movie_search_client.api.ratings import rate_movie, recommend_movies
from movie_search_client.models import Activation, Credentials, NewAccount, NewRating, Problem

PASSWORD = "copper lantern walks home"
T = TypeVar("T")


def succeeded(response: T | Problem | None) -> T:
    """Return the body of a successful response; end the program otherwise."""
    if isinstance(response, Problem):
        sys.exit(f"{response.code}: {response.detail}")
    if response is None:
        sys.exit("a response that the OpenAPI document does not describe")
    return response


def main(url: str, username: str) -> None:
    email = f"{username}@example.com"
    client = Client(base_url=url)

    account = NewAccount(email=email, username=username, password=PASSWORD)
    print("registered", succeeded(register.sync(client=client, body=account)).email)

    *_, uid, token = urlsplit(input("link in the email: ")).path.rstrip("/").split("/")
    print(succeeded(activate.sync(uid, token, client=client, body=Activation(password=PASSWORD))).message)

    pair = succeeded(log_in.sync(client=client, body=Credentials(email=email, password=PASSWORD)))
    user_client = AuthenticatedClient(base_url=url, token=pair.access)

    page = succeeded(search_movies.sync(client=user_client, query="casablanca", limit=1))
    movie = page.items[0]
    print("found", page.total, "movies, first", movie.title, "with", movie.cast)

    assert page.page_info.next_ is not None
    offset = int(parse_qs(urlsplit(page.page_info.next_).query)["offset"][0])
    page = succeeded(search_movies.sync(client=user_client, query="casablanca", limit=1, offset=offset))
    assert page.items[0].id != movie.id
    print("next page:", page.page_info.current_page, page.items[0].title)

    rating = succeeded(rate_movie.sync(movie.id, client=user_client, body=NewRating(rating=9.5)))
    print("rated", rating.movie_id, rating.rating)

    recommended = succeeded(recommend_movies.sync(client=user_client, limit=3))
    assert recommended.items
    print(f"recommended ({recommended.meta.tier}):")
    for item in recommended.items:
        print(" ", item.title, "because of", [reason.title for reason in item.reasons])

    print(succeeded(log_out.sync(client=user_client)).message)
    response = search_movies.sync_detailed(client=user_client)
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    assert isinstance(response.parsed, Problem)
    print("after that:", response.parsed.code)


main(*sys.argv[1:])
