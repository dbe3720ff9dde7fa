"""`catalogue import` and `catalogue info`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from movie_adapters.catalogue.files import MovieFile
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare_schema
from movie_cli.app import catalogue_app
from movie_cli.output import err, out, show_progress
from movie_cli.services import open_container, prepare_search
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Movie


@catalogue_app.command(name="import")
def import_file(file: Path, *, replace: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Add the movies of a file, or update those that are there.

    Parameters
    ----------
    file
        CSV, TSV or JSON lines, gzipped or not; also IMDb's title.basics.tsv and MovieLens' movies.csv. What belongs
        to it (title.ratings.tsv, links.csv) is read from the same folder.
    replace
        Drop the movies that the file lacks.
    """

    async def run() -> None:
        settings = Settings.load()
        read = MovieFile(file)
        async with open_container(settings) as container:
            catalogue = await container.get(MovieCatalogue)
            if replace:
                await prepare_schema(settings)
            else:
                await prepare_search(settings, container)
            with show_progress(f"importing {file.name}") as progress:

                def counted() -> Iterator[Movie]:
                    for done, movie in enumerate(read, 1):
                        if done % 1000 == 0:
                            progress(read.bytes_read, read.bytes_total)
                        yield movie

                loaded = await catalogue.load(counted(), replace=replace, edition="imported" if replace else None)
            count = await catalogue.count()
        out.print(
            f"{loaded.added} added, {loaded.updated} updated, {loaded.unchanged} unchanged, {loaded.removed} removed; "
            f"{read.reasons.total()} rows rejected, {read.left_out.total()} left out; {count} movies now",
            highlight=False,
        )
        for rejected in read.rejected:
            err.print(f"row {rejected.row}: {rejected.code}: {rejected.detail}", highlight=False, markup=False)
        if read.reasons.total() > len(read.rejected):
            err.print("rejected in all: " + ", ".join(f"{n} {code}" for code, n in read.reasons.most_common()))

    asyncio.run(run())


@catalogue_app.command
def info() -> None:
    """Tell how many movies are kept, and which edition."""

    async def run() -> None:
        settings = Settings.load()
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
            ("genres", f"{len(genres)}, most of all " + ", ".join(genre.name for genre in most) if most else "none"),
        ):
            table.add_row(name, value)
        out.print(table)

    asyncio.run(run())
