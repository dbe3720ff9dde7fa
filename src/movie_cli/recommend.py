"""`recommend train` and `recommend evaluate`."""

import asyncio
import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from movie_cli.app import recommend_app
from movie_cli.output import CommandError, print_done, print_lines, show_steps
from movie_cli.services import beside_serve
from movie_core.ports import MovieCatalogue, RatingStore, Recommender


@recommend_app.command
def train() -> None:
    """Learn from all ratings now. Every running process answers by the new model within a minute."""

    async def run() -> None:
        async with beside_serve() as container:
            with show_steps() as progress:
                made = await (await container.get(Recommender)).train(progress)
        print_done(f"learned from ratings: {made.ratings}, of users: {made.users}; movies in the model: {made.movies}")

    asyncio.run(run())


@recommend_app.command
def evaluate(file: Path | None = None, /) -> None:
    """Tell how good recommendations are on held-back ratings, beside simpler methods.

    Parameters
    ----------
    file
        Ratings in MovieLens' form, userId,movieId,rating,timestamp; years and genres from a movies.csv beside it.
        Left out: the ratings that are kept here.
    """
    from movie_adapters.recommender.evaluation import PROTOCOLS_TOLD, TooFewRatings
    from movie_adapters.recommender.evaluation import evaluate as evaluate_file

    try:
        with TemporaryDirectory() as folder, show_steps() as progress:
            told = evaluate_file(file or asyncio.run(_write_own_ratings(Path(folder))), progress)
    except TooFewRatings as few:
        raise CommandError(str(few)) from None
    print_done(f"ratings: {told.ratings}, movies: {told.movies}, users: {told.users}; rows passed over: {told.skipped}")
    for protocol, meaning in PROTOCOLS_TOLD.items():
        print_done(f"{protocol}: {meaning}")
    print_lines(
        ("protocol", "method", "users", "nDCG@10", "Recall@20", "coverage@10", "fit s", "p50 ms", "p99 ms"),
        [
            (
                row.protocol,
                row.method,
                str(row.users),
                *(f"{value:.4f}" for value in (row.ndcg, row.recall, row.coverage)),
                f"{row.fit_seconds:.2f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
            )
            for row in told.rows
        ],
        is_headed=True,
    )


async def _write_own_ratings(folder: Path) -> Path:
    """The ratings that are kept here, as a file in MovieLens' form with its movies beside it."""
    async with beside_serve() as container:
        store, catalogue = await container.get(RatingStore), await container.get(MovieCatalogue)
        titles: dict[str, str] = {}
        with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("userId", "movieId", "rating", "timestamp"))
            async for batch in store.iter_all():
                for user_id, rating in batch:
                    rows.writerow((user_id, rating.movie_id, rating.rating / 2, rating.rated_at.timestamp()))
                    titles[rating.movie_id] = rating.title
        known = await catalogue.get_many(titles)
    with (folder / "movies.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("movieId", "title", "genres"))
        for movie in known.values():
            year = "" if movie.year is None else f" ({movie.year})"
            rows.writerow((movie.id, movie.title + year, "|".join(movie.genres)))
    return folder / "ratings.csv"
