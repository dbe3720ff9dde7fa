"""The commands `recommend train` and `recommend evaluate`."""

import asyncio
import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from movie_cli.app import recommend_app
from movie_cli.output import CommandError, print_done, print_lines, show_steps
from movie_cli.services import open_migrated_container
from movie_core.ports import MovieCatalogue, RatingStore, Recommender


@recommend_app.command
async def train() -> None:
    """Train the recommendation model on all ratings. Running processes load the new model within a minute."""
    async with open_migrated_container() as container:
        with show_steps() as progress:
            model = await (await container.get(Recommender)).train(progress)
    print_done(f"trained on ratings: {model.ratings}, users: {model.users}; movies in the model: {model.movies}")


@recommend_app.command
def evaluate(file: Path | None = None, /) -> None:
    """Evaluate recommendations on held-out ratings, compared with baselines.

    Parameters
    ----------
    file
        Ratings in the MovieLens format, userId,movieId,rating,timestamp; years and genres are read from a movies.csv in
        the same directory. Default: the ratings in the database.
    """
    # Not a coroutine, because the evaluation is a long computation: Ctrl-C would only cancel the coroutine at its end.
    from movie_adapters.recommender.evaluation import PROTOCOL_DESCRIPTIONS, TooFewRatings
    from movie_adapters.recommender.evaluation import evaluate as evaluate_file

    try:
        with TemporaryDirectory() as folder, show_steps() as progress:
            evaluation = evaluate_file(file or asyncio.run(_write_stored_ratings(Path(folder))), progress)
    except TooFewRatings as error:
        raise CommandError(str(error)) from None
    print_done(
        f"ratings: {evaluation.ratings}, movies: {evaluation.movies}, users: {evaluation.users}; "
        f"rows skipped: {evaluation.skipped}"
    )
    for protocol, meaning in PROTOCOL_DESCRIPTIONS.items():
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
            for row in evaluation.rows
        ],
    )


async def _write_stored_ratings(folder: Path) -> Path:
    """Writes the stored ratings in the MovieLens format, with a movies.csv; returns the path of ratings.csv."""
    async with open_migrated_container() as container:
        store, catalogue = await container.get(RatingStore), await container.get(MovieCatalogue)
        titles: dict[str, str] = {}
        with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("userId", "movieId", "rating", "timestamp"))
            async for batch in store.iter_all():
                for user_id, rating in batch:
                    rows.writerow((user_id, rating.movie_id, rating.rating / 2, rating.rated_at.timestamp()))
                    titles[rating.movie_id] = rating.title
        movies = await catalogue.get_many(titles)
    with (folder / "movies.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("movieId", "title", "genres"))
        for movie in movies.values():
            year = "" if movie.year is None else f" ({movie.year})"
            rows.writerow((movie.id, movie.title + year, "|".join(movie.genres)))
    return folder / "ratings.csv"
