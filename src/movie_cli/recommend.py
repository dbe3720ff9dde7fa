"""The commands `recommend train`, `recommend import` and `recommend evaluate`."""

import asyncio
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from movie_adapters.catalogue.training_files import TrainingFile
from movie_cli.app import recommend_app
from movie_cli.output import CommandError, print_done, print_lines, show_progress, show_steps
from movie_cli.services import load_settings, open_container, open_migrated_container, prepare_search
from movie_core.clock import Clock
from movie_core.discovery.movie_matching import MatchedBy
from movie_core.discovery.training_import import import_training_ratings
from movie_core.discovery.training_ratings import FileRating
from movie_core.ports import MovieCatalogue, RatingStore, Recommender, TrainingRatingStore


@recommend_app.command
async def train() -> None:
    """Train the recommendation model on all ratings. Running processes load the new model within a minute."""
    async with open_migrated_container() as container:
        with show_steps() as progress:
            model = await (await container.get(Recommender)).train(progress)
    print_done(f"trained on ratings: {model.ratings}, users: {model.users}; movies in the model: {model.movies}")


@recommend_app.command(name="import")
async def import_file(file: Path, /) -> None:
    """Import ratings of many people, which only train the model. They replace those of the previous import.

    Parameters
    ----------
    file
        Ratings from 0.5 to 5 in the MovieLens format, userId,movieId,rating,timestamp, with MovieLens' links.csv and
        movies.csv in the same directory; or from 1 to 10 with the columns user,imdb_id,rating,timestamp.
    """
    settings = load_settings()
    training_file = TrainingFile(file)
    async with open_container(settings) as container:
        await prepare_search(settings, container)
        store, catalogue = await container.get(TrainingRatingStore), await container.get(MovieCatalogue)
        now = (await container.get(Clock))()
        with show_progress("") as progress:
            rows = RowsWithProgress(training_file, progress)
            try:
                result = await import_training_ratings(store, catalogue, rows, training_file.identities, now)
            except asyncio.CancelledError:
                rows.is_cancelled = True  # a thread reads them, and the process would wait for it
                raise
    if result is None:
        raise CommandError("another import has started in the meantime; its ratings are used")
    matched = ", ".join(f"{by}: {result.matched_by.get(by, 0)}" for by in MatchedBy if by is not MatchedBy.MOVIE_ID)
    print_done(f"ratings imported: {result.ratings}, users: {result.users}, movies: {result.movies}")
    print_done(f"movies matched by {matched}")
    print_done(f"rows not used: {sum(result.unused.values())}")
    for reason, count in sorted(result.unused.items(), key=lambda item: (-item[1], item[0])):
        print_done(f"{count}: {reason}")


class RowsWithProgress:
    """The rows of a file, which report their progress whenever they are iterated."""

    def __init__(self, file: TrainingFile, progress: Callable[..., None]) -> None:
        self._file = file
        self._progress = progress
        self._steps = iter(("reading", "storing"))
        self.is_cancelled = False

    def __iter__(self) -> Iterator[FileRating | str]:
        step = next(self._steps)
        for number, row in enumerate(self._file):
            if number % 10_000 == 0:
                if self.is_cancelled:
                    return
                self._progress(self._file.bytes_read, self._file.bytes_total, step)
            yield row


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
