"""Any catalogue, and any file of ratings made of its movies, as Hypothesis generates them."""

import unicodedata
from collections.abc import Callable

from hypothesis import strategies as st

from movie_core.discovery.movie_matching import MovieIdentity
from movie_core.search.movies import Movie
from movie_core.text import ARTICLES, normalise_title

LETTERS = st.characters(codec="utf-8", categories=["Ll", "Lu", "Lo", "Nd"])
WORDS = st.one_of(
    st.sampled_from(["Heat", "Léon", "Ødipus", "Straße", "千と千尋", "2001"]), st.text(LETTERS, min_size=1, max_size=6)
)
TITLES = st.builds(
    lambda article, words: " ".join(filter(None, [article, *words])),
    st.sampled_from(["", "", "The", "A", "La", "L'", "Der"]),
    st.lists(WORDS, min_size=1, max_size=3),
)
MOVIES = st.lists(
    st.builds(
        Movie,
        id=st.uuids().map(str),
        title=TITLES,
        year=st.integers(1990, 1994),
        original_title=st.none() | TITLES,
        alt_titles=st.lists(TITLES, max_size=2).map(tuple),
        imdb_id=st.none() | st.integers(1, 30).map(lambda number: f"tt{number:07}"),
        tmdb_id=st.none() | st.integers(0, 30).map(str),
    ),
    min_size=1,
    max_size=5,
    unique_by=(
        lambda movie: movie.id,
        lambda movie: (normalise_title(movie.title), movie.year),
        lambda movie: movie.imdb_id or movie.id,
        lambda movie: movie.id if movie.tmdb_id in (None, "0") else movie.tmdb_id,
    ),
)
"""Movies of few years, so that titles are shared. Two have neither an id nor both title and year in common."""


@st.composite
def varied(draw: st.DrawFn, title: str) -> str:
    """A title as another service spells it."""
    article, _, rest = title.partition(" ")
    if article.lower() in {word for words in ARTICLES.values() for word in words} and rest and draw(st.booleans()):
        title = f"{rest}, {article}"
    cases: list[Callable[[str], str]] = [str, str.lower, str.upper, str.title]
    title = draw(st.sampled_from(cases))(title)
    if draw(st.booleans()):
        title = "".join(c for c in unicodedata.normalize("NFD", title) if not "\u0300" <= c <= "\u036f")
    if ", " in title:
        return title + draw(st.sampled_from(["", "!", "?", "…", "."]))
    marks = ["-", ": ", "!", "'", "\N{RIGHT SINGLE QUOTATION MARK}", "\N{EN DASH}", " \N{BULLET} "]
    return draw(st.sampled_from([" ", *marks])).join(title.split(" "))


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Movie], list[MovieIdentity]]:
    """Movies, and one row about each in random order, with or without its ids."""
    movies = draw(st.permutations(draw(MOVIES)))
    rows = [
        MovieIdentity(
            title=draw(varied(movie.title)),
            original_title=draw(st.sampled_from([None, movie.original_title])),
            year=movie.year,
            imdb_id=draw(st.sampled_from([None, movie.imdb_id])),
            tmdb_id=draw(st.sampled_from([None, "0", movie.tmdb_id])),
        )
        for movie in movies
    ]
    return movies, rows
