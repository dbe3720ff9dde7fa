"""Import of a list of movies into a catalogue."""

from collections.abc import Iterable, Iterator
from dataclasses import replace as change
from itertools import islice

from movie_core.discovery.movie_matching import MovieIdentity, MovieMatch
from movie_core.search.merging import popularity_scale
from movie_core.search.movies import ListedMovie, LoadResult
from movie_core.search.ports import MovieCatalogue

SAMPLE = 20_000
"""Movies of a list from which the scale of its popularities is determined."""


async def import_movies(
    catalogue: MovieCatalogue, listed: Iterable[ListedMovie], *, replace: bool = False, edition: str | None = None
) -> LoadResult:
    """`MovieCatalogue.import_list`, with popularities on another scale aligned to that of the catalogue.

    `listed` is iterated twice. With `replace`, its scale becomes that of the catalogue.
    """
    most_popular = () if replace else await catalogue.most_popular(1)
    highest_stored = max((movie.popularity or 0.0 for movie in most_popular), default=0.0)
    if not highest_stored:
        return await catalogue.import_list(listed, replace=replace, edition=edition)
    sample = [entry for entry in islice(listed, SAMPLE) if entry.movie.popularity is not None]
    stored = await catalogue.match([_identity(entry) for entry in sample])
    popularities = [
        (entry.movie.popularity or 0.0, match.movie.popularity)
        for entry, match in zip(sample, stored, strict=True)
        if isinstance(match, MovieMatch) and match.movie.popularity is not None
    ]
    highest = max((entry.movie.popularity or 0.0 for entry in sample), default=0.0)
    align = popularity_scale(popularities, highest, highest_stored)

    def aligned() -> Iterator[ListedMovie]:
        for entry in listed:
            popularity = entry.movie.popularity
            if align is None or popularity is None:
                yield entry
            else:
                yield change(entry, movie=change(entry.movie, popularity=align(popularity)))

    return await catalogue.import_list(aligned(), edition=edition)


def _identity(entry: ListedMovie) -> MovieIdentity:
    movie = entry.movie
    return MovieIdentity(
        movie_id=movie.id if entry.has_own_id else None,
        imdb_id=movie.imdb_id,
        tmdb_id=movie.tmdb_id,
        title=movie.title,
        year=movie.year,
    )
