"""The commands `catalogue import` and `catalogue info`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from movie_adapters.catalogue.files import MovieFile
from movie_adapters.wiring.preparation import prepare_schema
from movie_cli.app import catalogue_app
from movie_cli.output import err, out, show_progress
from movie_cli.services import load_settings, open_container, prepare_search
from movie_core.ports import MovieCatalogue
from movie_core.search.catalogue_import import import_movies
from movie_core.search.movies import ListedMovie


@catalogue_app.command(name="import")
async def import_file(
    file: Path,
    *,
    replace: Annotated[bool, Parameter(negative=())] = False,
    adult: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Import movies from a file: new ones are added, existing ones updated.

    Parameters
    ----------
    file
        CSV, TSV or JSON lines, optionally gzipped; also IMDb's title.basics.tsv and MovieLens' movies.csv. Companion
        files (title.ratings.tsv, links.csv) are read from the same directory.
    replace
        Delete the movies that are not in the file.
    adult
        Include titles for adults only.
    """
    settings = load_settings()
    movie_file = MovieFile(file, adult=adult)
    async with open_container(settings) as container:
        catalogue = await container.get(MovieCatalogue)
        if replace:
            await prepare_schema(settings)
        else:
            await prepare_search(settings, container)
        with show_progress(f"importing {file.name}") as progress:
            listed = _ListWithProgress(movie_file, progress)
            result = await import_movies(catalogue, listed, replace=replace, edition="imported" if replace else None)
        count = await catalogue.count()
    out.print(
        f"{result.added} added, {result.updated} updated, {result.unchanged} unchanged, {result.removed} removed; "
        f"{movie_file.reasons.total()} rows rejected, {movie_file.skipped.total()} skipped; "
        f"{count} movies in total",
        highlight=False,
    )
    for rejected in movie_file.rejected:
        err.print(f"row {rejected.row}: {rejected.code}: {rejected.detail}", highlight=False, markup=False)
    if movie_file.reasons.total() > len(movie_file.rejected):
        err.print("rejected in total: " + ", ".join(f"{n} {code}" for code, n in movie_file.reasons.most_common()))


class _ListWithProgress:
    """The movies of a file, which reports its progress while they are iterated."""

    def __init__(self, file: MovieFile, progress: Callable[[int, int], None]) -> None:
        self._file = file
        self._progress = progress

    def __iter__(self) -> Iterator[ListedMovie]:
        for number, listed in enumerate(self._file.listed(), 1):
            if number % 1000 == 0:
                self._progress(self._file.bytes_read, self._file.bytes_total)
            yield listed


@catalogue_app.command
async def info() -> None:
    """Show the number of movies in the catalogue, its edition and its most frequent genres."""
    settings = load_settings()
    async with open_container(settings) as container:
        await prepare_search(settings, container)
        catalogue = await container.get(MovieCatalogue)
        count, edition, genres = await catalogue.count(), await catalogue.edition(), await catalogue.genres()
    table = Table(box=None, pad_edge=False, show_header=False)
    most = sorted(genres, key=lambda genre: -genre.movies)[:5]
    for name, value in (
        ("source", settings.source),
        ("movies", str(count)),
        ("edition", edition or "none"),
        ("genres", f"{len(genres)}, most frequent: " + ", ".join(genre.name for genre in most) if most else "none"),
    ):
        table.add_row(name, value)
    out.print(table)
