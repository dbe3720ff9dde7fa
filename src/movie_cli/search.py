"""The command `search`."""

import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from movie_cli.app import MOVIES, app
from movie_cli.output import UsageError, naming, out, print_json, print_lines
from movie_cli.services import load_settings, open_container, prepare_search
from movie_core.paging import Window
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import MovieQuery, Order


@app.command(group=MOVIES)
async def search(
    query: str,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 10,
    offset: Annotated[int, Parameter(validator=Number(gte=0, lte=10_000))] = 0,
    year: str | None = None,
    genre: str | None = None,
    order: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Search movies and print one page of results: a table or, in a pipe, one line per movie with tabs between title,
    year, genres, directors and id.

    Parameters
    ----------
    query
        Search text; an empty one matches all movies.
    limit
        Number of movies, 1 to 100.
    offset
        Number of movies to skip, 0 to 10000.
    year
        A year, or a range such as 1990..1999.
    genre
        Name of a genre.
    order
        relevance, popularity or year.
    json
        Print the JSON response of the API, for scripts.
    """
    orders = [one.value for one in Order if one is not Order.PERSONAL]  # which needs a user
    if order is not None and order not in orders:
        raise UsageError(f"--order: must be {', '.join(orders[:-1])} or {orders[-1]}")
    movie_query = MovieQuery.parse(query, year=year, genre=genre, order=order)
    window = Window(offset, limit)
    settings = load_settings()
    async with open_container(settings) as container:
        await prepare_search(settings, container)
        movie_search = await container.get(MovieSearch)
        with naming(movie_query.text or "all movies"):
            page = await movie_search.search(movie_query, window)
    if json:
        # These import the whole framework, which a table does not need.
        from movie_api.response_cache import SearchRequest
        from movie_api.routes.movies import render_page

        print_json(render_page(page, SearchRequest(movie_query, window), settings.public_url).body.decode())
        return
    headings = ("title", "year", "genres", "directors", "id")
    if not sys.stdout.isatty():
        print_lines(
            headings,
            [
                (movie.title, str(movie.year or ""), ", ".join(movie.genres), ", ".join(movie.directors), movie.id)
                for movie in page.items
            ],
            is_headed=False,
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading == "year" else "left")
    for movie in page.items:
        year_shown = "" if movie.year is None else str(movie.year)
        table.add_row(movie.title, year_shown, ", ".join(movie.genres), ", ".join(movie.directors), movie.id)
    out.print(table)
    out.print(
        f"{offset + 1} to {offset + len(page.items)} of {page.total}, from {page.source}",
        style="dim",
        highlight=False,
    )
